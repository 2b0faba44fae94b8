//! The proxies before the instances, each with the configuration that is shipped.

use std::{fs, path::Path, process::Stdio};

use super::programs::{program, start};
use crate::process::Process;

/// What stands before the instances. Unless it is as shipped, a user's tabs are at several of them.
#[derive(Clone, Copy)]
pub(super) struct Proxy {
    pub(super) program: &'static str,
    /// The shipped configuration, in `deploy`.
    file: &'static str,
    /// What of it keeps a user's tabs together.
    hash: &'static str,
    /// What stands there instead, so that connections are handed out in turn.
    instead: &'static str,
    /// `FILE` is the configuration, `FOLDER` a folder of its own.
    arguments: &'static [&'static str],
}

pub(super) const NGINX: Proxy = Proxy {
    program: "nginx",
    file: "nginx/nginx.conf",
    hash: "    hash $who consistent;\n",
    instead: "",
    arguments: &[
        "-p",
        "FOLDER",
        "-c",
        "FILE",
        "-g",
        "daemon off; error_log stderr; pid FOLDER/nginx.pid;",
    ],
};

pub(super) const HAPROXY: Proxy = Proxy {
    program: "haproxy",
    file: "haproxy/haproxy.cfg",
    hash: "  balance hash var(txn.who)\n  hash-type consistent sdbm avalanche\n",
    instead: "  balance roundrobin\n",
    arguments: &["-f", "FILE"],
};

/// One that takes instances for ready that are still to find their identity provider.
pub(super) const HAPROXY_UNCHECKED: Proxy = Proxy {
    hash: "  balance hash var(txn.who)\n  hash-type consistent sdbm avalanche\n  option httpchk\n  \
           http-check send meth GET uri /readyz ver HTTP/1.1 hdr Host localhost\n  \
           default-server check inter 1s fall 2 rise 1\n",
    ..HAPROXY
};

pub(super) const ENVOY: Proxy = Proxy {
    program: "envoy",
    file: "envoy/envoy.yaml",
    hash: "lb_policy: RING_HASH",
    instead: "lb_policy: ROUND_ROBIN",
    // A restart of one takes over the sockets of another of the same number.
    arguments: &["-c", "FILE", "--disable-hot-restart"],
};

impl Proxy {
    /// Keeps a user's tabs together.
    pub(super) fn as_shipped(self) -> Self {
        Self {
            instead: self.hash,
            ..self
        }
    }

    /// Starts it at this port before the instances at those.
    pub(super) fn start(self, folder: &Path, port: u16, instances: [u16; 3]) -> Process {
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy")
            .join(self.file);
        let name = shipped.file_name().expect("it is a file");
        let mut content = fs::read_to_string(&shipped).expect("it is shipped");
        assert!(
            content.contains(self.hash),
            "{} keeps a user's tabs together",
            self.file
        );
        content = content.replace(self.hash, self.instead);
        let [a, b, c] = instances;
        for (shipped, own) in [(8080, port), (8081, a), (8082, b), (8083, c)] {
            for (before, after) in [("127.0.0.1:", ""), ("address: 127.0.0.1, port_value: ", "}")] {
                content = content.replace(
                    &format!("{before}{shipped}{after}"),
                    &format!("{before}{own}{after}"),
                );
            }
        }
        let file = folder.join(name);
        fs::write(&file, content).expect("the folder can be written");
        let arguments = self.arguments.iter().map(|argument| {
            let argument = argument.replace("FILE", &file.display().to_string());
            argument.replace("FOLDER", &folder.display().to_string())
        });
        let mut command = program(self.program);
        start(
            command.args(arguments).stdout(Stdio::null()),
            &folder.join("proxy.log"),
        )
    }
}
