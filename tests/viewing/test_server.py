"""The page's server: what it answers, to whom, and what it refuses."""

import socket

import pytest

pytest.importorskip("httpx", reason="fastapi's test client needs httpx")
import numpy as np
import torch
from fastapi.testclient import TestClient

from heedful.attention import Rollout
from heedful.errors import HeedfulError
from heedful.viewing import server, studio
from heedful.viewing.addresses import HEADERS
from heedful.viewing.studio import Studio
from tests.viewing.tiny import Tiny
from tests.viewing.unpacked import unpack

TEXT = "the quick brown fox. jumps"


@pytest.fixture
def tiny() -> Tiny:
    return Tiny()


@pytest.fixture
def client(tiny: Tiny) -> TestClient:
    return client_of(Studio([tiny]))


def client_of(of: Studio, **choices) -> TestClient:
    return TestClient(
        server.create(of, **choices), base_url="http://127.0.0.1:8080", raise_server_exceptions=False
    )


def ask(client: TestClient, text: str = TEXT, model: str = "0") -> str:
    answer = client.post("/api/scenes", json={"model": model, "texts": {"text": text}})
    assert answer.status_code == 200, answer.text
    return answer.json()["id"]


def get(client: TestClient, path: str) -> tuple[dict, dict[str, np.ndarray]]:
    answer = client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/octet-stream"
    return unpack(answer.content)


def refusal(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    return answer.json()["error"]


def test_the_page_and_its_modules_are_given_and_nothing_else(client: TestClient):
    index = client.get("/")
    assert index.status_code == 200
    assert "<!doctype html>" in index.text
    script = client.get("/page/main.js")
    assert script.headers["content-type"].startswith("text/javascript")
    assert "// packed.js\n" in script.text  # all modules come with it
    assert "\nimport " not in script.text
    for path in (
        "/page/nothing.js",
        "/page/../server.py",
        "/page/%2e%2e%2fserver.py",
        "/page/",
        "/docs",
        "/x",
    ):
        assert client.get(path).status_code == 404
        assert "error" in client.get(path).json()


def test_models_are_told_and_what_is_opened(tiny: Tiny):
    opened = {"model": "0", "texts": {"text": "abc"}}
    told = client_of(Studio([tiny, tiny]), opened=opened).get("/api/models").json()
    assert [model["id"] for model in told["models"]] == ["0", "1"]
    assert told["opened"] == opened


def test_equal_requests_are_one_scene_and_one_pass(client: TestClient, tiny: Tiny):
    first = ask(client)
    assert ask(client) == first
    assert tiny.passes == 1
    assert ask(client, "other") != first
    # By the name of its folder, too.
    assert ask(client, model="tiny") == first


def test_weights_are_those_of_the_record(client: TestClient, tiny: Tiny):
    scene, record = ask(client), tiny.look({"text": TEXT}).maps[1].record
    at = f"/api/scenes/{scene}/maps/1/heads"
    _, found = get(client, f"{at}/1/weights?rows=3:9&keys=2:100")
    assert np.array_equal(found["weights"], record.weights(slice(3, 9), slice(2, None))[0, 1].numpy())
    _, found = get(client, f"{at}/mean/weights?rows=0:26&keys=0:26")
    np.testing.assert_allclose(found["weights"], record.weights()[0].mean(0).numpy(), rtol=1e-6)
    told, found = get(client, f"{at}/0/tiles/0/0/0")
    assert told == {"sampled": False}
    assert list(found) == ["mean"]
    assert np.array_equal(found["mean"], record.weights()[0, 0].numpy())
    _, found = get(client, f"{at}/0/top?rows=1:26&k=3")
    values, places = record.head(0).top(3)
    np.testing.assert_allclose(found["weights"], values[0, 0, 1:].numpy(), rtol=1e-6)
    assert np.array_equal(found["keys"], places[0, 0, 1:].numpy())
    assert found["keys"].dtype == np.int32
    np.testing.assert_allclose(found["sums"], np.ones(25), rtol=1e-5)


def test_tracks_statistics_and_thumbnails_are_those_of_the_record(client: TestClient, tiny: Tiny):
    scene, record = ask(client), tiny.look({"text": TEXT}).maps[0].record
    told, found = get(client, f"/api/scenes/{scene}/maps/0/heads/1/tracks")
    assert not told["sampled"]
    head = record.head(1)
    expected = {
        "entropy": head.entropy(),
        "largest": head.maximum(),
        "position": head.position(),
        "received": head.received(),
        "received_by_field": head.received(by_receptive_field=True),
    }
    assert set(found) == set(expected)
    for name, of in expected.items():
        np.testing.assert_allclose(found[name], of[0, 0].numpy(), rtol=1e-4, atol=1e-6)
    told, found = get(client, f"/api/scenes/{scene}/statistics")
    assert found["map1"].shape == (len(told["names"]), 2)
    np.testing.assert_allclose(
        found["map0"][told["names"].index("entropy")], record.entropy()[0].mean(-1).numpy(), rtol=1e-5
    )
    told, found = get(client, f"/api/scenes/{scene}/thumbnails?size=8")
    assert told["cells"] == [[4, 4], [4, 4]]
    np.testing.assert_allclose(found["maximum0"], record.overview(8).maximum[0].numpy(), rtol=1e-3)
    assert found["mean1"].shape == (2, 7, 7)
    assert found["mean1"].dtype == np.float16


def test_rollout_is_that_of_the_steps(client: TestClient, tiny: Tiny):
    scene = ask(client)
    rollout = Rollout(tiny.look({"text": TEXT}).steps)
    _, found = get(client, f"/api/scenes/{scene}/rollout?output=7")
    np.testing.assert_allclose(found["text"], rollout.rows([7])["text"][0, 0].numpy(), rtol=1e-5)
    _, found = get(client, f"/api/scenes/{scene}/rollout?received=1")
    np.testing.assert_allclose(found["text"], rollout.received()["text"][0].numpy(), rtol=1e-5)


def test_what_other_files_tell_is_given(client: TestClient):
    scene = ask(client)
    told, _ = get(client, f"/api/scenes/{scene}/maps/1/heads/0/arithmetic?query=4")
    assert told["query"] == 4
    told, _ = get(client, f"/api/scenes/{scene}/attribution?output=2&method=gradient")
    assert told["output"] == 2
    other = ask(client, "the quick red fox. jumps")
    told, _ = get(client, f"/api/compare?left={scene}.1.0&right={other}.1.mean")
    assert "summary" in told


def test_a_forgotten_scene_says_so_and_can_be_asked_for_again(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(studio, "SCENES", 2)
    first = ask(client)
    second = ask(client, "second")
    client.get(f"/api/scenes/{first}/statistics")  # used later than the second
    ask(client, "third")
    assert client.get(f"/api/scenes/{first}/statistics").status_code == 200
    gone = client.get(f"/api/scenes/{second}/statistics")
    assert gone.status_code == 404
    assert gone.json()["forgotten"] is True
    assert ask(client, "second") == second


def test_long_texts_are_shown_from_some_queries_until_the_pass_is_made(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(studio, "AT_ONCE", 2**12)
    monkeypatch.setattr(studio, "QUERIES", 40)
    from heedful.viewing import tiles

    monkeypatch.setattr(tiles, "ON_DEMAND", 2**10)
    monkeypatch.setattr(tiles, "SIDE", 32)
    shown = Studio([tiny])
    client, text = client_of(shown), "abcdefgh" * 25
    scene = ask(client, text)
    assert client.post("/api/scenes", json={"model": "0", "texts": {"text": text}}).json()["sampled"]
    told, found = get(client, f"/api/scenes/{scene}/thumbnails?size=20")
    assert told["sampled"]
    assert shown.background.wait(30)
    told, found = get(client, f"/api/scenes/{scene}/thumbnails?size=20")
    assert not told["sampled"]
    record = tiny.look({"text": text}).maps[1].record
    np.testing.assert_allclose(
        found["maximum1"], record.overview(20).maximum[0].numpy(), rtol=2e-3, atol=1e-6
    )
    told, found = get(client, f"/api/scenes/{scene}/maps/1/heads/0/tiles/3/0/0")
    assert not told["sampled"]
    np.testing.assert_allclose(found["maximum"], record.overview(25).maximum[0, 0].numpy(), rtol=2e-3)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8080"}, 200),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::1"}, 403),
        ({"origin": "http://127.0.0.1:8080"}, 200),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"sec-fetch-site": "none"}, 200),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "host": "evil.example"}, 403),
    ],
)
def test_only_the_page_itself_is_answered(client: TestClient, headers: dict[str, str], status: int):
    assert client.get("/api/models", headers=headers).status_code == status


def test_a_form_of_another_page_is_no_link(client: TestClient):
    headers = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    answer = client.post("/api/scenes", json={"model": "0", "texts": {"text": "a"}}, headers=headers)
    assert "Other pages" in refusal(answer, 403)


@pytest.mark.parametrize(
    ("came_to", "host", "status"),
    [
        ("192.0.2.7", "192.0.2.7:8080", 200),
        ("[2001:db8::7]", "[2001:db8::7]:8080", 200),
        ("[::ffff:192.0.2.7]", "192.0.2.7:8080", 200),  # one socket for both kinds of addresses
        ("192.0.2.7", "mine:8080", 200),
        ("192.0.2.7", "192.0.2.8:8080", 403),
        ("192.0.2.7", "evil.example:8080", 403),
        ("192.0.2.7", "192.0.2.7.evil.example", 403),
    ],
)
def test_at_all_addresses_it_answers_to_the_one_that_a_request_came_to(
    tiny: Tiny, came_to: str, host: str, status: int
):
    hosts, studio_ = {"127.0.0.1", "mine"}, Studio([tiny])
    for everywhere in (False, True):
        app = server.create(studio_, hosts=hosts, everywhere=everywhere)
        client = TestClient(app, base_url=f"http://{came_to}:8080")
        answer = client.get("/api/models", headers={"host": host})
        assert answer.status_code == (status if everywhere or host == "mine:8080" else 403)


def test_every_answer_forbids_what_the_page_does_not_need(client: TestClient, tiny: Tiny):
    policy = HEADERS["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'self'"} <= set(policy)
    assert not [part for part in policy if "unsafe" in part]
    tiny.look = None  # what cannot be called fails inside
    for status, answer in (
        (200, client.get("/")),
        (200, client.get("/api/models")),
        (404, client.get("/x")),
        (403, client.get("/", headers={"host": "x"})),
        (411, client.post("/api/scenes", content=iter([b"{}"]))),
        (500, client.post("/api/scenes", json={"model": "0", "texts": {"text": "a"}})),
    ):
        assert answer.status_code == status
        assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in answer.headers


def test_what_cannot_be_answered_is_one_sentence(client: TestClient):
    scene = ask(client)
    at = f"/api/scenes/{scene}/maps"
    assert "shout" in refusal(client.post("/api/scenes", json={"model": "0", "texts": {"text": "no!"}}), 400)
    assert "nowhere" in refusal(
        client.post("/api/scenes", json={"model": "nowhere", "texts": {"text": "a"}}), 400
    )
    assert "empty" in refusal(client.post("/api/scenes", json={"model": "0", "texts": {}}), 400)
    assert "song" in refusal(client.post("/api/scenes", json={"model": "0", "texts": {"song": "a"}}), 400)
    assert "texts" in refusal(client.post("/api/scenes", json={"model": "0", "texts": {"text": 1}}), 422)
    assert refusal(
        client.post("/api/scenes", content=b"{", headers={"content-type": "application/json"}), 422
    )
    deep = b'{"model":' + b"[" * 100_000
    assert refusal(
        client.post("/api/scenes", content=deep, headers={"content-type": "application/json"}), 400
    )
    assert refusal(client.put("/api/scenes", content=b"{}"), 405)
    assert "map 2" in refusal(client.get(f"{at}/2/heads/0/tracks"), 404)
    assert "head 9" in refusal(client.get(f"{at}/0/heads/9/tracks"), 404)
    assert "mean" in refusal(client.get(f"{at}/0/heads/most/tracks"), 400)
    assert "level 1" in refusal(client.get(f"{at}/0/heads/0/tiles/1/0/0"), 404)
    assert "tile 0, 1" in refusal(client.get(f"{at}/0/heads/0/tiles/0/0/1"), 404)
    assert "rows" in refusal(client.get(f"{at}/0/heads/0/weights?rows=1-2&keys=0:1"), 422)
    assert "k" in refusal(client.get(f"{at}/0/heads/0/top?rows=0:1&k=100000"), 422)
    assert refusal(client.get(f"/api/scenes/{scene}/thumbnails?size=100000"), 422)
    assert "no position 99" in refusal(client.get(f"/api/scenes/{scene}/rollout?output=99"), 404)
    assert "ID.MAP.HEAD" in refusal(client.get("/api/compare?left=a&right=b"), 400)
    assert "no search" in refusal(
        client.post("/api/growth", json={"model": "0", "texts": {"text": "a"}, "beam": 2}), 400
    )
    assert refusal(client.post("/api/growth", json={"model": "0", "texts": {"text": "a"}, "beam": 99}), 422)


def test_sizes_are_bounded(client: TestClient, monkeypatch: pytest.MonkeyPatch):
    scene = ask(client)
    monkeypatch.setattr(server, "WEIGHTS", 10)
    monkeypatch.setattr(server, "LOOKED_THROUGH", 10)
    at = f"/api/scenes/{scene}/maps/0/heads/0"
    assert "smaller part" in refusal(client.get(f"{at}/weights?rows=0:11&keys=0:1"), 400)
    assert "smaller part" in refusal(client.get(f"{at}/top?rows=0:1"), 400)
    monkeypatch.setattr(server, "BODY", 100)
    assert "longer" in refusal(
        client.post("/api/scenes", json={"model": "0", "texts": {"text": "a" * 200}}), 413
    )


def test_a_body_of_unknown_length_is_refused(client: TestClient):
    assert refusal(client.post("/api/scenes", content=iter([b"{}"])), 411)


def test_what_fails_inside_is_told_without_its_insides(tiny: Tiny, capsys: pytest.CaptureFixture[str]):
    def fails(texts, **_):
        raise RuntimeError("secret")

    tiny.look = fails
    answer = client_of(Studio([tiny])).post("/api/scenes", json={"model": "0", "texts": {"text": "a"}})
    assert "secret" not in refusal(answer, 500)
    assert "secret" in capsys.readouterr().err


def test_an_address_that_is_taken_is_told():
    taken = server.listen("127.0.0.1", 0)
    with taken:
        port = taken.getsockname()[1]
        assert server.address_of(taken) == f"http://127.0.0.1:{port}/"
        with pytest.raises(HeedfulError, match=f"port {port}"):
            server.listen("127.0.0.1", port)
    with pytest.raises(HeedfulError, match="cannot be served"):
        server.listen("203.0.113.1", 0)


def test_a_port_can_be_had_again_at_once():
    with server.listen("127.0.0.1", 0) as taken:
        address = taken.getsockname()
        with socket.create_connection(address, timeout=5) as caller:
            taken.accept()[0].close()  # who hangs up first keeps the port for a minute
            assert caller.recv(1) == b""
    server.listen(*address).close()


def test_who_calls_before_it_answers_waits():
    with server.listen("127.0.0.1", 0) as taken, socket.create_connection(taken.getsockname(), timeout=5):
        pass


def test_it_listens_on_this_machine_alone():
    with server.listen("127.0.0.1", 0) as taken:
        assert taken.family == socket.AF_INET
        assert taken.getsockname()[0] == "127.0.0.1"


def test_pictures_of_heads_that_were_long_ago_are_let_go_and_none_is_passed_over_again(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    from heedful.viewing import tiles
    from heedful.viewing.tiles import Pyramid

    monkeypatch.setattr(tiles, "ON_DEMAND", 2**10)
    monkeypatch.setattr(tiles, "SIDE", 16)
    monkeypatch.setattr(studio, "AT_ONCE", 2**12)
    monkeypatch.setattr(Pyramid.thin, "__defaults__", (2**8,))
    passes: list[Pyramid] = []
    keep = Pyramid._keep
    monkeypatch.setattr(Pyramid, "_keep", lambda own, picture: (passes.append(own), keep(own, picture)))
    shown = Studio([tiny])
    view = shown.open("0", {"text": "ab" * 60})
    first = view.pyramid(0, 0)
    assert shown.background.wait(30)
    # Two heads of four fit in, and what is left of the others.
    bound = int(2.5 * first.kept_bytes)
    monkeypatch.setattr(studio, "PICTURES", bound)
    for polled in range(4):
        sampled = [view.thumbnail(number, 8)[-1] for number in (0, 1)]
        assert any(sampled) == (polled == 0)
        view.look_at_all()
        assert shown.background.wait(30)
        pyramids = [view._pyramids[number, head] for number in (0, 1) for head in (0, 1)]
        assert 0 < sum(pyramid.kept_bytes for pyramid in pyramids) <= bound
    assert len(passes) == 4
    assert not first.done
    assert pyramids[-1].done
    # Whoever looks at a head nearer has it passed over again; the bound holds for the first in order, too.
    view.pyramid(0, 0)
    assert shown.background.wait(30)
    assert first.done
    assert len(passes) == 5
    assert sum(pyramid.kept_bytes for pyramid in pyramids) <= bound
    assert isinstance(first.tile(0, 0, 0).mean, torch.Tensor)


def test_short_heads_of_which_there_are_many_are_not_sampled_for_ever(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(studio, "AT_ONCE", 2**8)  # all heads together are long, none needs a pass
    view = Studio([tiny]).open("0", {"text": TEXT})
    assert view.thumbnail(0, 8)[-1]
    view.look_at_all()
    mean, maximum, cell, sampled = view.thumbnail(0, 8)
    assert not sampled
    picture = view.map(0).record.overview(8)
    assert cell == picture.cell
    torch.testing.assert_close(mean, picture.mean[0])
    torch.testing.assert_close(maximum, picture.maximum[0])
