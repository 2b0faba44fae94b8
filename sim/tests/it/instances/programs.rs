//! The programs that these tests start: what they need of other software, and ours.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use super::proxies::Proxy;
use crate::process::{Process, skip};

/// Whether the programs are here; a pipeline says that they must be.
pub(super) fn is_possible(proxy: Proxy) -> bool {
    let missing: Vec<_> = ["redis-server", "ss", proxy.program]
        .into_iter()
        .filter(|name| find(name).is_none())
        .collect();
    if !missing.is_empty() {
        let test = format!("a test of instances behind {}", proxy.program);
        skip(&test, &format!("not installed: {}", missing.join(", ")));
    }
    missing.is_empty()
}

/// Debian has servers where the path of a user does not lead; Envoy comes by pip (`deploy/envoy/requirements.txt`).
fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let by_pip = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/envoy/.venv/bin");
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), by_pip]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

pub(super) fn program(name: &str) -> Command {
    Command::new(find(name).expect("it was looked for before"))
}

pub(super) fn start(command: &mut Command, log: &Path) -> Process {
    let log = fs::File::create(log).expect("the test's folder can be written");
    command.stderr(log);
    Process(command.spawn().expect("it is installed"))
}

pub(super) fn polytab() -> Command {
    without_surroundings(Path::new(env!("CARGO_BIN_EXE_polytab")))
}

fn without_surroundings(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("RUST_LOG", "info");
    command
}

/// What the instances are.
pub(super) enum Server {
    /// `polytab serve`, which is built with the tests.
    OfTests,
    /// `polytab-server`, this file, as it is rolled out.
    Shipped(PathBuf),
}

impl Server {
    /// Builds `polytab-server` as it is rolled out.
    pub(super) fn shipped() -> Self {
        let target = Path::new(env!("CARGO_BIN_EXE_polytab"))
            .ancestors()
            .nth(2)
            .expect("it is in a folder of its profile");
        let status = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--release", "-p", "polytab-server"])
            .arg("--target-dir")
            .arg(target)
            .status();
        assert!(status.expect("cargo runs the tests").success());
        Self::Shipped(target.join("release/polytab-server"))
    }

    pub(super) fn command(&self, listen: SocketAddr) -> Command {
        match self {
            Self::OfTests => {
                let mut command = polytab();
                command.args(["serve", "--no-mocks", "--port", &listen.port().to_string()]);
                command
            }
            Self::Shipped(file) => {
                let mut command = without_surroundings(file);
                command.args(["--set", &format!("listen={listen}")]);
                command
            }
        }
    }
}
