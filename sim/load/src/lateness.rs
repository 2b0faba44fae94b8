//! The cause of a generator that is late: named from what its threads and the machine did meanwhile.

use serde::{Deserialize, Serialize};

use crate::{result::Generator, threshold::shown};

/// The load of a generator's threads and its machine in the stretches in which it was late, as parts of a stretch: the
/// highest of each, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strain {
    /// The busiest worker ran.
    pub worker: f64,
    /// A worker was ready to run, and something else had its core.
    pub waited: f64,
    /// All cores of the machine were busy.
    pub host: f64,
    /// The hypervisor took the cores away.
    pub stolen: f64,
    /// The container's processor limit stopped the process.
    pub throttled: f64,
}

/// A part of the time above which something is a cause.
const CAUSE: f64 = 0.02;
/// A worker has no time left.
const BUSY: f64 = 0.9;

impl Strain {
    /// The higher of both, each.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            worker: self.worker.max(other.worker),
            waited: self.waited.max(other.waited),
            host: self.host.max(other.host),
            stolen: self.stolen.max(other.stolen),
            throttled: self.throttled.max(other.throttled),
        }
    }

    /// The cause and its remedy.
    fn cause(&self, generator: &Generator) -> String {
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        if self.throttled > CAUSE {
            format!(
                "the container's processor limit stopped it for up to {} of the time; raise the limit",
                percent(self.throttled)
            )
        } else if self.stolen > CAUSE {
            format!(
                "the hypervisor took up to {} of the processor time; use a machine with cores of its own",
                percent(self.stolen)
            )
        } else if self.worker > BUSY && generator.workers < generator.cores {
            format!(
                "its busiest worker used {} of a core; use more workers (`--workers`) or fewer tabs",
                percent(self.worker)
            )
        } else if self.worker > BUSY {
            format!(
                "its busiest worker used {} of a core, and there is a worker for each of the {} cores; use more machines \
                 (`--shard`) or fewer tabs",
                percent(self.worker),
                generator.cores
            )
        } else if self.waited > CAUSE {
            format!(
                "it was ready to run and not scheduled for up to {} of the time, as other processes had the cores (the machine \
                 was {} busy, its busiest worker used {} of a core); move the target or other work to another machine",
                percent(self.waited),
                percent(self.host),
                percent(self.worker)
            )
        } else if self.host > BUSY {
            format!(
                "the machine was {} busy, and its busiest worker used {} of a core; move the target or other work to \
                 another machine",
                percent(self.host),
                percent(self.worker)
            )
        } else {
            format!(
                "no cause is visible (the machine was {} busy, its busiest worker used {} of a core): a virtual machine, power \
                 saving or a suspended machine may have delayed it",
                percent(self.host),
                percent(self.worker)
            )
        }
    }
}

/// The fault of a generator that was later than the limit.
pub(crate) fn lateness(generator: &Generator, limit_ms: f64) -> Option<String> {
    let millis = |millis: f64| shown(std::time::Duration::from_secs_f64(millis.clamp(0.0, 1e9) / 1e3));
    (generator.lag_p99_ms > limit_ms).then(|| {
        format!(
            "the generator was late: 1 % of its actions were {} late or later, and at most {} is allowed; {}",
            millis(generator.lag_p99_ms),
            millis(limit_ms),
            generator.strain.cause(generator)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_named_and_workers_are_advised_only_when_they_are_busy() {
        let generator = |strain| Generator {
            lag_p99_ms: 25.0,
            cores: 4,
            workers: 3,
            strain,
            ..Generator::default()
        };
        let strain = |change: fn(&mut Strain)| {
            let mut strain = Strain {
                worker: 0.02,
                ..Strain::default()
            };
            change(&mut strain);
            strain
        };
        for (strain, part) in [
            (
                strain(|strain| strain.worker = 0.97),
                "used 97 % of a core; use more workers",
            ),
            (
                strain(|strain| strain.throttled = 0.3),
                "processor limit stopped it for up to 30 %",
            ),
            (strain(|strain| strain.stolen = 0.1), "hypervisor took up to 10 %"),
            (
                strain(|strain| strain.waited = 0.4),
                "not scheduled for up to 40 %",
            ),
            (strain(|strain| strain.host = 0.99), "the machine was 99 % busy"),
            (strain(|_| ()), "no cause is visible"),
        ] {
            let told = lateness(&generator(strain), 10.0).unwrap();
            assert!(told.contains("25.0 ms late") && told.contains(part), "{told}");
            assert_eq!(told.contains("more workers"), strain.worker > 0.9, "{told}");
        }
        let full = Generator {
            workers: 4,
            ..generator(strain(|strain| strain.worker = 0.97))
        };
        assert!(lateness(&full, 10.0).unwrap().contains("use more machines"));
        assert_eq!(lateness(&full, 30.0), None);
    }
}
