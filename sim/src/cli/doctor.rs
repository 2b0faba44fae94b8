//! `polytab doctor`: whether this machine can do what is asked of it, before a run fails for want of it.

use std::{
    fmt::Write,
    net::{IpAddr, Ipv4Addr, TcpListener},
    path::PathBuf,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use polytab_load::{health, plan::Limits, threshold::shown};
use polytab_mocks::start::usual_ports;

use super::{Exit, config::ProjectFile, say};

/// What is to be possible.
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(super) struct DoctorArguments {
    /// Tabs that one process is to keep open at once
    #[arg(long, value_name = "N", default_value = "10000", env = "POLYTAB_DOCTOR_TABS")]
    tabs: u64,
    /// Project file [default: polytab.toml here, if there is one]
    #[arg(long, value_name = "FILE", env = "POLYTAB_CONFIG")]
    config: Option<PathBuf>,
}

const EXIT_CODES: &str = "Exit codes: 0 all is well, or well enough; 6 something must be mended first.";

/// Bytes that a tab takes here and in the reference server, generously (`docs/load.md` has what was measured).
const BYTES_PER_TAB: u64 = 32 * 1024;
/// Connections from one address to one destination, above which the search for a free port shows in what is measured.
const PER_SOURCE: u64 = 10_000;
/// Waits by which the timer is judged: half a second.
const WAITS: u32 = 400;
/// A timer later than this shows in medians.
const LATE: Duration = Duration::from_millis(1);

/// What was found, and what to do about it.
struct Finding {
    what: &'static str,
    seen: String,
    state: State,
}

enum State {
    Well,
    /// It goes on, with this to know.
    Warning(String),
    /// It does not, unless this is done.
    Wrong(String),
}

pub(super) fn doctor(arguments: &DoctorArguments) -> anyhow::Result<Exit> {
    let findings = [
        descriptors(arguments.tabs),
        ports(arguments.tabs),
        memory(arguments.tabs),
        cores(),
        timer()?,
        mocks(),
        settings(arguments),
    ];
    let mut text = String::new();
    let mut is_wrong = false;
    for finding in findings {
        let (word, colour, mend) = match finding.state {
            State::Well => ("ok", AnsiColor::Green, None),
            State::Warning(mend) => ("note", AnsiColor::Yellow, Some(mend)),
            State::Wrong(mend) => {
                is_wrong = true;
                ("wrong", AnsiColor::Red, Some(mend))
            }
        };
        let style = Style::new().fg_color(Some(colour.into()));
        writeln!(
            text,
            "{style}{word:<6}{style:#} {:<12} {}",
            finding.what, finding.seen
        )
        .ok();
        if let Some(mend) = mend {
            writeln!(text, "{:20}{mend}", "").ok();
        }
    }
    say(text.trim_end())?;
    Ok(if is_wrong { Exit::Environment } else { Exit::Passed })
}

fn descriptors(tabs: u64) -> Finding {
    let (limit, needed) = (health::raise_descriptors(), health::descriptors_for(tabs));
    let state = if needed <= limit {
        State::Well
    } else {
        State::Wrong(format!(
            "raise the limit (`ulimit -n {needed}`, or LimitNOFILE), or spread the users with `polytab load --shard`"
        ))
    };
    Finding {
        what: "descriptors",
        seen: format!("{limit} for a process, {needed} needed for {tabs} tabs"),
        state,
    }
}

fn ports(tabs: u64) -> Finding {
    let ports = health::ports();
    let sources = tabs.div_ceil(PER_SOURCE.min(ports)).max(1);
    let state = if sources == 1 {
        State::Well
    } else {
        let local = |nth: u64| u8::try_from(nth).ok().map(|last| Ipv4Addr::new(127, 0, 0, last));
        let addresses: Option<Vec<_>> = (1..=sources).map(local).collect();
        let usable = addresses.filter(|all| all.iter().all(|one| health::has_address(IpAddr::V4(*one))));
        let example = usable.map_or_else(String::new, |all| {
            let all: Vec<_> = all.iter().map(ToString::to_string).collect();
            format!("; for a server on this machine `--sources {}`", all.join(","))
        });
        State::Warning(format!(
            "connections are opened slowly beyond {PER_SOURCE} from one address, and none beyond {ports}: \
             use {sources} addresses{example}"
        ))
    };
    Finding {
        what: "ports",
        seen: format!("{ports} for connections from one address to one server"),
        state,
    }
}

fn memory(tabs: u64) -> Finding {
    let mebibytes = |bytes: u64| bytes / 1024 / 1024;
    let needed = tabs.saturating_mul(BYTES_PER_TAB);
    let Some(available) = health::memory() else {
        return Finding {
            what: "memory",
            seen: "the system does not say how much there is".to_owned(),
            state: State::Well,
        };
    };
    Finding {
        what: "memory",
        seen: format!(
            "{} MiB available, {} MiB needed for {tabs} tabs with the reference server",
            mebibytes(available),
            mebibytes(needed).max(1)
        ),
        state: if needed <= available {
            State::Well
        } else {
            State::Wrong("drive fewer tabs from this machine".to_owned())
        },
    }
}

fn cores() -> Finding {
    let cores = health::cores();
    Finding {
        what: "cores",
        seen: cores.to_string(),
        state: if cores > 1 {
            State::Well
        } else {
            State::Warning(
                "a server on this machine shares the core with the generator: a load soon measures the generator"
                    .to_owned(),
            )
        },
    }
}

fn timer() -> anyhow::Result<Finding> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let late = runtime.block_on(health::lateness(WAITS))?.quantile(0.99);
    let limit = Limits::default().lag;
    let state = if late > limit {
        State::Wrong(format!(
            "above {} a load is invalid: end what else runs on this machine",
            shown(limit)
        ))
    } else if late > LATE {
        State::Warning(
            "this much is added to what is measured: end what else runs on this machine".to_owned(),
        )
    } else {
        State::Well
    };
    Ok(Finding {
        what: "timer",
        seen: format!("99 % of waits end at most {} late", shown(late)),
        state,
    })
}

fn mocks() -> Finding {
    let is_taken = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err();
    let taken: Vec<_> = usual_ports().filter(|(_, port)| is_taken(*port)).collect();
    let state = match taken.as_slice() {
        [] => State::Well,
        taken => {
            let flags: Vec<_> = taken.iter().map(|(name, _)| format!("--{name}-port 0")).collect();
            State::Warning(format!(
                "`polytab mock` needs others for these: {}",
                flags.join(" ")
            ))
        }
    };
    let (ports, word) = if taken.is_empty() {
        (usual_ports().collect(), "are free")
    } else {
        (taken, "are taken")
    };
    let ports: Vec<_> = ports.iter().map(|(_, port)| port.to_string()).collect();
    Finding {
        what: "mock ports",
        seen: format!("{} {word}", ports.join(", ")),
        state,
    }
}

fn settings(arguments: &DoctorArguments) -> Finding {
    let what = "settings";
    match ProjectFile::load(arguments.config.as_deref()) {
        Ok(_) => Finding {
            what,
            seen: "the project file is valid, or there is none".to_owned(),
            state: State::Well,
        },
        Err(error) => Finding {
            what,
            seen: "the project file is not valid".to_owned(),
            state: State::Wrong(format!("{error:#}")),
        },
    }
}
