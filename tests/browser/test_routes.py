"""The server's answers and refusals, requested over HTTP as by a browser, a script or an attacker."""

import csv
import http.client
import io
import json
import re
import zipfile
from urllib.parse import quote, urlencode

import pytest

from neural.tracking import ExperimentManager
from neural.tracking.sink_state.progress import Share, SinkFolder
from neural.tracking.state.paths import State
from tests.browser.conftest import ids
from tests.unit.ui.conftest import Runs

pytestmark = pytest.mark.frameworks

TOKEN = "a token of some length"


class Asking:
    def __init__(self, address):
        self.port = int(re.search(r":(\d+)/", address)[1])

    def __call__(self, path, method="GET", body=None, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            answer.content = answer.read()
            return answer
        finally:
            connection.close()


@pytest.fixture(scope="module")
def only_asked(tmp_path_factory, serve_all):
    """Start the page over a run, once for all tests that change neither."""
    runs = Runs(tmp_path_factory.mktemp("asked") / "runs")
    runs.add("run", 10)
    yield runs, Asking(serve_all(runs.base_dir))
    runs.sink.close()


@pytest.fixture
def ask(only_asked):
    return only_asked[1]


@pytest.fixture
def ask_own(runs, serve):
    runs.add("run", 10)
    return Asking(serve(runs.base_dir))


@pytest.mark.parametrize("path", ["/", "/_dash-layout", "/export/runs.csv", "/health", "/assets/page.js"])
def test_wrong_host_is_refused(ask, path):
    assert ask(path, Host="evil.example").status == 421


@pytest.mark.parametrize(
    "path", ["/_dash-layout", "/_dash-dependencies", "/export/runs.csv?runs=x", "/plot/a/b", "/health"]
)
def test_other_site_is_refused(ask, path):
    assert ask(path, Sec_Fetch_Site="cross-site").status == 403
    assert ask(path, Origin="https://evil.example").status == 403


def test_other_site_cannot_call_back(ask):
    body = json.dumps({"output": "shell.children", "inputs": []})

    answer = ask(
        "/_dash-update-component", "POST", body, Content_Type="application/json", Origin="http://evil.example"
    )

    assert answer.status == 403


def test_what_no_tab_asks_is_turned_away_and_leaves_no_traceback(ask_own, serve):
    bodies = (
        "",
        "{",
        "[]",
        '{"output": {"a": 1}}',
        '{"output": "gone.children", "inputs": []}',
        '{"output": "content.children", "inputs": [{"id": "x", "property": "y"}]}',
        "[" * 100_000,
    )

    answers = [
        ask_own("/_dash-update-component", "POST", body, Content_Type="application/json").status
        for body in bodies
    ]

    assert answers == [400] * len(bodies)
    assert ask_own("/_dash-component-suites/os/__init__.py").status == 404
    serve.process.terminate()
    assert "Traceback" not in serve.process.stdout.read()


def test_every_answer_carries_the_policy(ask):
    for path in ("/", "/_dash-layout", "/export/runs.csv", "/nowhere"):
        answer = ask(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "unsafe-eval" not in policy
        assert "default-src" in policy or "sandbox" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    [
        "/plot/{run}/..%2frun.json",
        "/plot/{run}/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/plot/..%2f..%2fetc/passwd",
        "/artifact/{run}/1/..%2f..%2frun.json",
        "/artifact/{run}/1/../../../../../etc/passwd",
        "/artifact/{run}/0//etc/passwd",
        "/artifact/..%2f{run}/1/run.json",
        "/export/..%2f..%2fetc%2fpasswd?runs={run}",
        "/assets/..%2f..%2fguard.py",
        "/assets/../guard.py",
        "/_dash-component-suites/dash/..%2f..%2f..%2fetc/passwd",
    ],
)
def test_path_out_of_its_folder_leads_nowhere(ask, only_asked, path):
    runs, _ = only_asked
    run = next(p for p in runs.base_dir.iterdir() if p.name.startswith("run_")).name.rpartition("_")[2]

    answer = ask(path.format(run=run))

    assert answer.status >= 400
    assert b"root:" not in answer.content
    assert b"opened_ns" not in answer.content


def test_link_out_of_the_run_is_not_followed(ask_own, runs, tmp_path):
    (folder,) = (p for p in runs.base_dir.iterdir() if p.name.startswith("run_"))
    (tmp_path / "secret.png").write_bytes(b"secret")
    (folder / "plots").mkdir()
    (folder / "plots" / "out.png").symlink_to(tmp_path / "secret.png")

    answer = ask_own(f"/plot/{folder.name.rpartition('_')[2]}/out.png")

    assert answer.status == 404
    assert b"secret" not in answer.content.replace(b"secret.png", b"")


def test_page_with_a_token_opens_to_who_knows_it_only(runs, serve, tmp_path):
    runs.add("run")
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "token").chmod(0o600)
    ask = Asking(serve(runs.base_dir, "--token-file", str(tmp_path / "token")))

    assert b"Token" in ask("/").content
    assert b"_dash" not in ask("/").content
    assert ask("/_dash-layout").status == 401
    assert ask("/assets/page.js").status == 401
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    wrong = ask("/sign-in", "POST", urlencode({"token": "not the token at all"}), **form)
    assert (wrong.status, wrong.headers["Set-Cookie"]) == (401, None)
    right = ask("/sign-in", "POST", urlencode({"token": TOKEN}), **form)
    cookie = right.headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in cookie.split(";")}
    assert TOKEN not in cookie
    assert ask("/_dash-layout", Cookie=cookie.partition(";")[0]).status == 200


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory):
    """Return a run with two versions of a file, a folder, and a link to a backend, logged as a user does."""
    base_dir = tmp_path_factory.mktemp("artifacts")
    manager = ExperimentManager(base_dir)
    source = base_dir / "model.bin"
    folder = base_dir / "data"
    folder.mkdir()
    (folder / "a.txt").write_text("in the folder")
    with manager.create_experiment("kept", auto_visualize=False) as tracker:
        tracker.log_metrics({"loss": 1.0}, step=0)
        for content in (b"first", b"second"):
            source.write_bytes(content)
            tracker.log_artifact(source)
        tracker.log_artifact(folder, name="data")
        assert tracker.flush(120)
        assert tracker.get_artifact_version("data") is not None
    yield base_dir, tracker
    from neural.tracking.collector import commands

    commands.stop(base_dir, timeout_s=120)


def test_artifact_is_sent_as_it_was_logged(artifacts, serve):
    base_dir, tracker = artifacts
    ask = Asking(serve(base_dir))

    first = ask(f"/artifact/{tracker.experiment_id}/1/model.bin")
    data = ask(f"/artifact/{tracker.experiment_id}/1/data")

    assert (first.status, first.content) == (200, b"first")
    assert first.headers["Content-Disposition"] == "attachment; filename=model.bin"
    assert zipfile.ZipFile(io.BytesIO(data.content)).read("a.txt") == b"in the folder"
    assert ask(f"/artifact/{tracker.experiment_id}/9/model.bin").status == 404


def test_damaged_artifact_is_not_sent(artifacts, serve):
    base_dir, tracker = artifacts
    ask = Asking(serve(base_dir))
    (path,) = tracker.experiment_dir.glob("versions/model.bin/v2_*")
    path.chmod(0o644)
    path.write_bytes(b"SECOND")

    answer = ask(f"/artifact/{tracker.experiment_id}/2/model.bin")

    assert answer.status == 409
    assert b"SECOND" not in answer.content
    assert b"not sent" in answer.content


def test_card_lists_artifacts_and_links_of_the_web_only(artifacts, serve, browse):
    base_dir, tracker = artifacts
    state = State.for_base_dir(base_dir)
    uid = json.loads((tracker.experiment_dir / "run.json").read_text())["uid"]
    for name, link in (("wandb", "https://wandb.example/run"), ("evil", "javascript:alert(1)")):
        sink = SinkFolder(state, name)
        sink.make()
        Share(uid=uid, name="kept", folder="kept", link=link).write(sink.share_file(uid))

    tab = browse(serve(base_dir), f"?view=summary&runs={tracker.experiment_id}")

    tab.page.get_by_text("model.bin v1").wait_for()
    with tab.page.expect_download() as download:
        tab.page.get_by_text("model.bin v1").click()
    assert download.value.path().read_bytes() == b"first"
    assert tab.page.locator(".links a").evaluate_all("links => links.map(a => a.href)") == [
        "https://wandb.example/run"
    ]
    assert "javascript:alert(1)" in tab.page.locator(".links").inner_text()


def test_exports_are_downloaded(runs, serve, browse):
    emitters = [runs.add(f"run-{n}", 30, params={"lr": n}) for n in (1, 2)]
    tab = browse(serve(runs.base_dir), f"?view=export&runs={ids(*emitters)}")
    got = {}
    for name in ("comparison.csv", "runs.csv", "comparison.json", "comparison.html", "comparison.zip"):
        with tab.page.expect_download(timeout=120_000) as download:
            tab.page.locator(".export-card").filter(has_text=name).click()
        assert download.value.suggested_filename == name
        got[name] = download.value.path().read_bytes()

    assert len(list(csv.DictReader(io.StringIO(got["comparison.csv"].decode())))) == 60
    assert [line["param lr"] for line in csv.DictReader(io.StringIO(got["runs.csv"].decode()))] == ["1", "2"]
    assert [run["experiment_name"] for run in json.loads(got["comparison.json"])["runs"]] == ["run-1", "run-2"]
    page = got["comparison.html"].decode()
    assert "data:image/png;base64," in page
    assert not re.search(r"(?:src|href)=[\"']?https?:", page)
    pictures = zipfile.ZipFile(io.BytesIO(got["comparison.zip"])).namelist()
    assert {"comparison_loss.png", "hyperparameter_comparison.png"} <= set(pictures)


def test_export_of_runs_that_are_gone_is_told(ask):
    answer = ask(f"/export/runs.csv?runs={quote('no such run')}")

    assert answer.status == 404
    assert b"select others in the page" in answer.content
