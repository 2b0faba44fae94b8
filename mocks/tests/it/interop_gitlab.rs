//! Clients that are not ours (`interop/gitlab`) against the GitLab mock, over TCP.

use crate::harness::{Script, node, python, run};

#[test]
fn python_gitlab() {
    run(&Script {
        args: &["gitlab/python_gitlab.py"],
        ..python("python_gitlab")
    });
}

#[test]
fn requests_sse() {
    run(&Script {
        args: &["gitlab/sse.py"],
        ..python("requests_sse")
    });
}

#[test]
fn event_source_of_npm() {
    run(&Script {
        args: &["gitlab/eventsource.mjs"],
        needs: &["node_modules/eventsource"],
        ..node("event_source_of_npm")
    });
}
