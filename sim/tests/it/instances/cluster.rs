//! Three instances of the reference server with a real Redis, behind a real proxy, beside our mocks.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use polytab_server::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    programs::{Server, polytab, program, start},
    proxies::Proxy,
};
use crate::{ports::free, process::Process, secrets::pattern};

/// What takes longer than this will not happen.
const PATIENCE: Duration = Duration::from_mins(1);
/// Between two looks at a fact that is waited for.
const LOOK: Duration = Duration::from_millis(50);

/// Where the services are that the instances ask.
struct Services {
    issuer: String,
    backend: String,
    gitlab: String,
}

impl Services {
    /// Those that `polytab run` starts at these ports.
    fn at([keycloak, backend, gitlab, _]: [u16; 4]) -> Self {
        Self {
            issuer: format!("http://127.0.0.1:{keycloak}/auth/realms/Renku"),
            backend: format!("http://127.0.0.1:{backend}/api"),
            gitlab: format!("http://127.0.0.1:{gitlab}"),
        }
    }

    /// Those that `polytab mock` says it has started.
    fn told(line: &Value) -> Self {
        let url = |key: &str| line[key].as_str().expect("the line names all of them").to_owned();
        Self {
            issuer: url("issuer"),
            backend: url("backend") + "/api",
            gitlab: url("gitlab"),
        }
    }
}

/// All of it; ends with the test.
pub(super) struct Cluster {
    pub(super) folder: TempDir,
    server: Server,
    redis: Process,
    redis_port: u16,
    /// What every instance is started with.
    settings: Vec<(String, String)>,
    instances: Vec<Process>,
    ports: [u16; 3],
    proxy_port: u16,
    proxy: Proxy,
    /// Once it was started.
    proxying: Option<Process>,
    mocks: Option<(Process, String)>,
}

impl Cluster {
    /// With our mocks, at so many times the usual pace but for these settings.
    pub(super) fn start(proxy: Proxy, speed: u32, settings: &[(&str, &str)]) -> Self {
        let mut cluster = Self::with_mocks(proxy, speed, settings);
        for nth in 0..3 {
            cluster.start_another();
            wait_for("an instance is ready", || {
                cluster.get(nth, "/readyz") == "ready\n"
            });
        }
        cluster.start_proxy();
        wait_for("the proxy passes on", || {
            get(cluster.proxy_port, "/readyz") == "ready\n"
        });
        cluster
    }

    /// With our mocks, at the usual pace, and with one instance to begin with.
    pub(super) fn start_first(proxy: Proxy, server: Server, settings: &[(&str, &str)]) -> Self {
        let mut cluster = Self::with_mocks(proxy, 1, settings);
        cluster.server = server;
        cluster.start_another();
        cluster.start_proxy();
        wait_for("the proxy passes on", || {
            get(cluster.proxy_port, "/readyz") == "ready\n"
        });
        cluster
    }

    /// So many instances, for services that come later, at these ports.
    pub(super) fn start_for(proxy: Proxy, (count, speed): (usize, u32), mocks: [u16; 4]) -> Self {
        let mut cluster = Self::without_services(proxy);
        cluster.settings = cluster.settings_for(&Services::at(mocks), speed);
        for nth in 0..count {
            cluster.start_another();
            wait_for("an instance is there", || cluster.get(nth, "/healthz") == "ok\n");
        }
        cluster.start_proxy();
        cluster
    }

    fn with_mocks(proxy: Proxy, speed: u32, settings: &[(&str, &str)]) -> Self {
        let mut cluster = Self::without_services(proxy);
        let (mocks, line) = start_mocks(cluster.folder.path(), &cluster.public());
        let control = line["control"].as_str().expect("the line names the control API");
        cluster.mocks = Some((mocks, control.to_owned()));
        cluster.settings = cluster.settings_for(&Services::told(&line), speed);
        let own = settings
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        cluster.settings.extend(own);
        cluster
    }

    fn without_services(proxy: Proxy) -> Self {
        let folder = tempfile::tempdir().expect("there is room for a folder");
        let [redis_port, proxy_port, a, b, c] = free();
        let ports = [a, b, c];
        Self {
            redis: start_redis(folder.path(), redis_port),
            redis_port,
            settings: Vec::new(),
            instances: Vec::new(),
            ports,
            proxy_port,
            proxy,
            proxying: None,
            mocks: None,
            server: Server::OfTests,
            folder,
        }
    }

    fn settings_for(&self, services: &Services, speed: u32) -> Vec<(String, String)> {
        let config = serde_json::to_value(Config::default().scaled(speed)).expect("settings are plain");
        let times = config.as_object().expect("settings have names").iter();
        let times = times.filter_map(|(key, value)| {
            let span = value.as_str().filter(|text| text.ends_with("ms"))?;
            Some((key.clone(), span.to_owned()))
        });
        let others = [
            ("public_url", self.public()),
            ("oidc_issuer", services.issuer.clone()),
            ("oidc_client_secret", "client-secret-for-tests-only".to_owned()),
            ("backend_url", services.backend.clone()),
            ("gitlab_url", services.gitlab.clone()),
            ("redis_url", format!("redis://127.0.0.1:{}", self.redis_port)),
            ("version", "0000000".to_owned()),
            ("debug_channels", "true".to_owned()),
        ];
        let others = others.map(|(key, value)| (key.to_owned(), value));
        times.chain(others).collect()
    }

    /// Starts the proxy, after the instances: those that it finds away are passed over for a while.
    fn start_proxy(&mut self) {
        let proxy = self.proxy.start(self.folder.path(), self.proxy_port, self.ports);
        self.proxying = Some(proxy);
    }

    /// Starts the next instance.
    pub(super) fn start_another(&mut self) {
        let nth = self.instances.len();
        let mut command = self.server.command(self.address(nth));
        for (key, value) in &self.settings {
            command.args(["--set", &format!("{key}={value}")]);
        }
        let log = self.log(nth);
        self.instances.push(start(command.stdout(Stdio::null()), &log));
    }

    /// Waits until an instance has ended.
    pub(super) fn wait_for_the_end_of(&mut self, nth: usize) -> Duration {
        let begun = Instant::now();
        self.instances[nth].0.wait().expect("it was started");
        begun.elapsed()
    }

    /// Where browsers reach it.
    pub(super) fn public(&self) -> String {
        format!("http://127.0.0.1:{}", self.proxy_port)
    }

    /// Begins a load of this profile through the proxy.
    pub(super) fn load(&self, profile: &str) -> Process {
        fs::write(self.folder.path().join("my.load.yaml"), profile).expect("the folder can be written");
        let mut command = polytab();
        command
            .current_dir(self.folder.path())
            .args([
                "load",
                "my.load.yaml",
                "--sign-in",
                "code",
                "--login",
                "/auth/login",
            ])
            .args([
                "--url",
                &format!("ws://127.0.0.1:{}/ui-server/ws", self.proxy_port),
            ])
            .args(["--control", self.control(), "--out", "result.json"]);
        let said = fs::File::create(self.folder.path().join("load.out")).expect("the folder can be written");
        start(command.stdout(said), &self.folder.path().join("load.err"))
    }

    fn control(&self) -> &str {
        let (_, control) = self.mocks.as_ref().expect("it was started with mocks");
        control
    }

    /// Waits for the end of a load, and gives its exit code and what it said.
    pub(super) fn end(&self, mut load: Process) -> (Option<i32>, String) {
        let code = load.0.wait().expect("it was started").code();
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        let said = read("load.out") + &read("load.err");
        self.tells_no_secret(&said);
        (code, said)
    }

    /// Searches for secrets what operators read: what a load said, and what each instance logged and measured. Not the
    /// result, whose histograms are as random to look at; `crate::secrets` searches one for what was really issued.
    fn tells_no_secret(&self, said: &str) {
        let instances = (0..self.instances.len()).flat_map(|nth| {
            let log = fs::read_to_string(self.log(nth)).expect("it was begun");
            assert!(log.contains("channel begins"), "{log}");
            // One that was ended is asked in vain.
            [log, self.get(nth, "/metrics"), self.get(nth, "/debug/channels")]
        });
        let pattern = pattern();
        for text in instances.chain([said.to_owned()]) {
            let found = pattern.find(&text).map(|found| found.as_str());
            assert_eq!(found, None, "{text}");
        }
    }

    fn log(&self, nth: usize) -> PathBuf {
        self.folder.path().join(format!("instance-{nth}.log"))
    }

    /// Waits until so many tabs are open, over all instances that answer.
    pub(super) fn wait_for_tabs(&self, tabs: u64) {
        wait_for(&format!("{tabs} tabs are open"), || {
            self.sum("polytab_tabs") == tabs
        });
    }

    /// A metric of one instance, over all its labels that hold `label`; 0 of one that does not answer.
    pub(super) fn metric(&self, nth: usize, name: &str, label: &str) -> u64 {
        let text = self.get(nth, "/metrics");
        let values = text.lines().filter_map(|line| {
            let (series, value) = line.rsplit_once(' ')?;
            let is_it = series == name || series.starts_with(&format!("{name}{{"));
            (is_it && series.contains(label)).then(|| value.parse::<u64>().ok())?
        });
        values.sum()
    }

    /// A metric over all instances.
    pub(super) fn sum(&self, name: &str) -> u64 {
        (0..3).map(|nth| self.metric(nth, name, "")).sum()
    }

    /// The users who have tabs at an instance, hashed.
    pub(super) fn users(&self, nth: usize) -> Vec<String> {
        let channels = self.channels(nth);
        let users = channels.iter().filter_map(|channel| channel["user"].as_str());
        users.map(str::to_owned).collect()
    }

    /// Whether an instance leads some users, and waits for an answer for each of them.
    pub(super) fn asks_for_all_it_leads(&self, nth: usize) -> bool {
        let channels = self.channels(nth);
        let asks_for = |channel: &Value| {
            let asking = channel["asking"].as_array().expect("a list");
            asking.iter().any(|loop_kind| loop_kind == "short")
        };
        let mut led = channels
            .iter()
            .map(|channel| &channel["channel"])
            .filter(|channel| channel["rank"] == "leads")
            .peekable();
        led.peek().is_some() && led.all(asks_for)
    }

    fn channels(&self, nth: usize) -> Vec<Value> {
        serde_json::from_str(&self.get(nth, "/debug/channels")).expect("a list")
    }

    /// Resident memory of an instance, in kB.
    pub(super) fn resident_kb(&self, nth: usize) -> u64 {
        let path = format!("/proc/{}/status", self.instances[nth].0.id());
        let status = fs::read_to_string(path).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.expect("it is said").parse().expect("it is a number")
    }

    /// Whether a process that was started goes on.
    pub(super) fn goes_on(process: &mut Process) -> bool {
        process.0.try_wait().expect("it was started").is_none()
    }

    /// Where an instance itself listens.
    pub(super) fn address(&self, nth: usize) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[nth]).into()
    }

    pub(super) fn get(&self, nth: usize, path: &str) -> String {
        get(self.ports[nth], path)
    }

    /// Sends a signal to an instance.
    pub(super) fn signal(&self, nth: usize, signal: Signal) {
        send(&self.instances[nth], signal);
    }

    /// Sends a signal to Redis.
    pub(super) fn signal_redis(&self, signal: Signal) {
        send(&self.redis, signal);
    }

    /// Ends Redis, with all that it holds.
    pub(super) fn end_redis(&mut self) {
        self.redis.0.kill().expect("it runs");
        self.redis.0.wait().expect("it was started");
    }

    /// Starts Redis anew, empty.
    pub(super) fn start_redis(&mut self) {
        self.redis = start_redis(self.folder.path(), self.redis_port);
    }

    /// Takes every lease away, as an eviction or a restart of Redis does.
    pub(super) fn drop_leases(&self) {
        let script = "for _, key in ipairs(redis.call('KEYS', '*:lease:*')) do redis.call('DEL', key) end";
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).expect("it listens");
        write!(stream, "EVAL \"{script}\" 0\r\n").expect("it reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"$-1\r\n", "the script gives nothing");
    }

    /// All that Redis holds, as it would be written to its disk.
    pub(super) fn dump_of_redis(&self) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.redis_port)).expect("it listens");
        stream.write_all(b"SAVE\r\n").expect("it reads");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("it answers");
        assert_eq!(&answer, b"+OK\r\n");
        fs::read(self.folder.path().join("dump.rdb")).expect("it was written")
    }

    /// Orders something of the mocks.
    pub(super) fn order(&self, method: &str, path: &str, body: &Value) -> String {
        let address = self.control().trim_start_matches("http://").trim_end_matches('/');
        let body = body.to_string();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        exchange(address, &request).expect("the control API answers")
    }
}

fn send(process: &Process, signal: Signal) {
    kill_process(Pid::from_child(&process.0), signal).expect("it runs");
}

/// Waits until something is so.
pub(super) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(LOOK);
    }
}

fn start_redis(folder: &Path, port: u16) -> Process {
    let mut command = program("redis-server");
    command
        .current_dir(folder)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args(["--save", "", "--appendonly", "no"])
        .stdout(Stdio::null());
    let redis = start(&mut command, &folder.join("redis.log"));
    wait_for("Redis listens", || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    redis
}

fn start_mocks(folder: &Path, public: &str) -> (Process, Value) {
    let mut command = polytab();
    command
        .args(["mock", "--message-format", "json"])
        .args([
            "--keycloak-port",
            "0",
            "--backend-port",
            "0",
            "--gitlab-port",
            "0",
        ])
        .args(["--control-port", "0", "--gateway-port", "0"])
        .args(["--redirect-uri", &format!("{public}/*")])
        .args([
            "--backchannel-logout-url",
            &format!("{public}/auth/backchannel-logout"),
        ])
        .stdout(Stdio::piped());
    let mut mocks = start(&mut command, &folder.join("mocks.log"));
    let mut line = String::new();
    let output = mocks.0.stdout.take().expect("it was asked for");
    BufReader::new(output)
        .read_line(&mut line)
        .expect("the mocks say when they are ready");
    let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
    (mocks, line)
}

/// The body of an answer; nothing where nobody answers.
fn get(port: u16, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    exchange(&format!("127.0.0.1:{port}"), &request).unwrap_or_default()
}

fn exchange(address: &str, request: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok(body.to_owned())
}

impl Drop for Cluster {
    #[expect(clippy::print_stderr, reason = "the logs go with the test")]
    fn drop(&mut self) {
        // nginx's workers outlive one that is killed.
        if let Some(proxy) = &mut self.proxying {
            send(proxy, Signal::TERM);
            proxy.0.wait().ok();
        }
        // What failed is told by the logs.
        if std::thread::panicking() {
            for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
                if entry.path().extension().is_some_and(|kind| kind == "log") {
                    let text = fs::read_to_string(entry.path()).unwrap_or_default();
                    let last: Vec<_> = text.lines().rev().take(15).collect();
                    eprintln!("== {}", entry.path().display());
                    last.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
    }
}
