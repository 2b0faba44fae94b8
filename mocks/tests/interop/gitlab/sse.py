"""requests-sse against the GitLab mock: framing, resuming, refusals, and the end for good."""

import requests
from requests_sse import EventSource, InvalidStatusCodeError

from mocks import GITLAB, PROJECT, begin, check, control, generate


def stream(token, last, kind="issue"):
    headers = {"PRIVATE-TOKEN": token}
    if last:
        headers["Last-Event-ID"] = last
    return EventSource(f"{GITLAB}/project/{PROJECT}/{kind}", headers=headers, timeout=10)


def read(token, last, count):
    """The next events after one."""
    with stream(token, last) as source:
        return [event for _, event in zip(range(count), source)]


def status(token, kind="issue"):
    """What opening a stream is answered, if not with a stream."""
    try:
        with stream(token, None, kind):
            return 200
    except InvalidStatusCodeError as error:
        return error.status_code


def main():
    token = begin()
    ids = generate("issue", n=5, payload={"object_attributes": {"title": "größer 🚀"}})
    origin = ids[0].rsplit("-", 1)[0] + "-0"
    whole = read(token, origin, 5)
    check("ids", [event.last_event_id for event in whole], ids)
    check("types", {event.type for event in whole}, {"issue"})
    check("characters of four bytes", all("🚀" in event.data for event in whole), True)
    for nth, last in enumerate(ids[:-1]):
        rest = [event.data for event in read(token, last, 4 - nth)]
        check(f"resumed after {nth + 1}", rest, [event.data for event in whole[nth + 1 :]])

    for fault in ["split_utf8", "crlf_mix", "bom"]:
        control("POST", "/faults", {"match": {"route": "gitlab.stream"}, "do": {"gitlab": fault}, "times": 1})
        found = [event.data for event in read(token, origin, 5)]
        check(f"{fault} changes nothing", found, [event.data for event in whole])

    lost = read(token, "1-1", 1)
    check("an id of another life", lost[0].type, "reset")
    check("a made-up token", status("made-up"), 401)
    check("an unknown type", status(token, "nonsense"), 400)
    control("DELETE", f"/projects/{PROJECT}")
    answer = requests.get(f"{GITLAB}/project/{PROJECT}/issue", headers={"PRIVATE-TOKEN": token}, timeout=10)
    check("the end for good", answer.status_code, 204)


if __name__ == "__main__":
    main()
