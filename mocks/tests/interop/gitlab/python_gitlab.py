"""python-gitlab against the GitLab mock: projects, lists, pages, hooks, refusals."""

import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import gitlab

from mocks import GITLAB, PROJECT, begin, check, control, generate


def refusal(call):
    """The status with which a call is refused."""
    try:
        call()
    except gitlab.exceptions.GitlabError as error:
        return error.response_code
    return None


def users_and_projects(gl):
    gl.auth()
    check("auth finds who the token is of", gl.user.username, "ada")
    check("version", gl.version()[0], "18.5.0")
    by_path = gl.projects.get("group/project-42")
    check("a project by its path", by_path.id, PROJECT)
    return gl.projects.get(PROJECT)


def events(project):
    generate("push")
    generate("issue", payload={"object_attributes": {"action": "close"}})
    generate("note")
    every = project.events.list(get_all=True)
    actions = [event.action_name for event in every]
    check("events, newest first", actions, ["commented on", "closed", "pushed to"])
    pushed = project.events.list(action="pushed", get_all=True)
    check("events of one action", [event.push_data["ref_type"] for event in pushed], ["branch"])
    notes = project.events.list(target_type="note", get_all=True)
    check("events of one target", [event.note["noteable_type"] for event in notes], ["Issue"])
    check("no events before a day of old", project.events.list(before="2020-01-01", get_all=True), [])


def pages(project):
    generate("issue", n=44)
    every = project.issues.list(iterator=True, per_page=10)
    check("the total of a list", (every.total, every.total_pages, every.per_page), (45, 5, 10))
    numbers = [issue.iid for issue in every]
    check("a walk over all pages", (len(numbers), len(set(numbers))), (45, 45))
    check("numbers fall", numbers, sorted(numbers, reverse=True))
    check("one page only", len(project.issues.list(page=5, per_page=10)), 5)
    check("issues of one state", len(project.issues.list(state="closed", get_all=True)), 1)


def pipelines_and_merge_requests(project):
    generate("pipeline", payload={"object_attributes": {"id": 5, "status": "running"}})
    generate("pipeline", payload={"object_attributes": {"id": 5, "status": "failed"}})
    generate("merge_request")
    check("a pipeline as it is now", [(p.id, p.status) for p in project.pipelines.list(get_all=True)], [(5, "failed")])
    requests = project.mergerequests.list(state="opened", get_all=True)
    check("merge requests", [request.target_branch for request in requests], ["main"])


class Receiver(BaseHTTPRequestHandler):
    """Takes calls of hooks."""

    calls = queue.Queue()

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        Receiver.calls.put((self.headers, self.rfile.read(length).decode()))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def hooks(project):
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/hook"
    hook = project.hooks.create({"url": address, "token": "a-secret", "push_events": False, "issues_events": True})
    check("a hook as it was wished for", (hook.url, hook.push_events, hook.issues_events), (address, False, True))
    check("hooks are listed", [found.id for found in project.hooks.list(get_all=True)], [hook.id])
    check("a hook by its number", project.hooks.get(hook.id).alert_status, "executable")
    generate("push")
    generate("issue", payload={"object_attributes": {"title": "größer 🚀"}})
    headers, body = Receiver.calls.get(timeout=10)
    check("the call's kind", headers["X-Gitlab-Event"], "Issue Hook")
    check("the call's secret", headers["X-Gitlab-Token"], "a-secret")
    check("the call's body", "größer 🚀" in body, True)
    hook.delete()
    check("a hook that is gone", refusal(lambda: project.hooks.get(hook.id)), 404)
    refused = refusal(lambda: project.hooks.create({"url": "ftp://nowhere"}))
    check("a hook that cannot be called", refused, 422)
    server.shutdown()


def refusals(gl):
    check("a project of others", refusal(lambda: gl.projects.get(7)), 404)
    check("an unknown route", refusal(lambda: gl.http_get("/nonesuch")), 404)
    stranger = gitlab.Gitlab(GITLAB, private_token="made-up")
    check("a made-up token", refusal(stranger.auth), 401)
    control("PUT", "/rate-limit", {"requests": 1, "per": "1h"})
    calls = [refusal(lambda: gl.http_get("/user", obey_rate_limit=False)) for _ in range(2)]
    check("too many calls", calls, [None, 429])
    control("DELETE", "/rate-limit")
    gl.http_delete("/personal_access_tokens/self")
    check("a token that revoked itself", refusal(gl.auth), 401)


def main():
    gl = gitlab.Gitlab(GITLAB, private_token=begin())
    project = users_and_projects(gl)
    events(project)
    pages(project)
    pipelines_and_merge_requests(project)
    hooks(project)
    refusals(gl)


if __name__ == "__main__":
    main()
