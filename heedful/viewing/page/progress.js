// That something takes time: a line that moves, and for how many seconds it has.

export function createProgress(element) {
  const words = element.firstElementChild;
  const waiting = new Map(); // number -> {words, since}
  let number = 0;
  let timer = 0;

  function tick() {
    const [longest] = waiting.values();
    const seconds = longest ? Math.round((performance.now() - longest.since) / 1000) : 0;
    element.hidden = !longest || performance.now() - longest.since < 120;
    if (longest) words.textContent = longest.words + (seconds >= 1 ? ` … ${seconds} s` : " …");
    else {
      clearInterval(timer);
      timer = 0;
    }
  }

  return {
    // Gives the promise back.
    wait(promise, what = "Looking") {
      const mine = number++;
      waiting.set(mine, { words: what, since: performance.now() });
      timer ||= setInterval(tick, 100);
      const done = () => {
        waiting.delete(mine);
        tick();
      };
      promise.then(done, done);
      return promise;
    },
  };
}
