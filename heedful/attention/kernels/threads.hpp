// Tasks shared out among threads.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__linux__)
// PyTorch's own threads, where its OpenMP is GNU's: others would run beside them, which stay awake for a while.
extern "C" void GOMP_parallel(void (*)(void*), void*, unsigned, unsigned) __attribute__((weak));
#endif

namespace heedful {

using Size = std::int64_t;

// Runs task(0), ..., task(tasks - 1), each once, on up to so many threads, this one among them.
template <typename Task>
void share(Size tasks, Size threads, const Task& task) {
  struct Work {
    std::atomic<Size> next;
    Size tasks;
    const Task& task;
    static void run(void* given) {
      Work& all = *static_cast<Work*>(given);
      for (Size i = all.next++; i < all.tasks; i = all.next++) all.task(i);
    }
  } work{{0}, tasks, task};
  threads = std::min(tasks, threads);
#if defined(__linux__)
  if (threads > 1 && GOMP_parallel != nullptr) return GOMP_parallel(Work::run, &work, static_cast<unsigned>(threads), 0);
#endif
  std::vector<std::thread> others;
  try {
    for (Size i = 1; i < threads; ++i) others.emplace_back(Work::run, &work);
  } catch (const std::system_error&) {
    // No more threads are to be had: those there are do all the work.
  }
  Work::run(&work);
  for (auto& other : others) other.join();
}

}  // namespace heedful
