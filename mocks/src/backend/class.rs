//! Resource classes: what a session of each gets, and on which cluster.

use serde_json::{Value, json};

/// A resource class.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Class {
    pub(crate) id: u64,
    /// Sessions of one cluster cannot move to another.
    cluster: &'static str,
    cpu: f64,
    gpu: u32,
    memory_gb: u32,
}

/// The class of a session that asks for none.
pub(crate) const USUAL: u64 = 1;

/// All classes.
const CLASSES: [Class; 3] = [
    Class {
        id: USUAL,
        cluster: "main",
        cpu: 0.5,
        gpu: 0,
        memory_gb: 1,
    },
    Class {
        id: 2,
        cluster: "main",
        cpu: 2.0,
        gpu: 0,
        memory_gb: 8,
    },
    Class {
        id: 3,
        cluster: "gpu",
        cpu: 8.0,
        gpu: 1,
        memory_gb: 32,
    },
];

impl Class {
    /// The class of this number.
    pub(crate) fn of(id: u64) -> Option<Self> {
        CLASSES.into_iter().find(|class| class.id == id)
    }

    /// Whether a session of the other class can become one of this.
    pub(crate) fn is_beside(self, other: Self) -> bool {
        self.cluster == other.cluster
    }

    /// What a session of this class gets, with so much storage in GB.
    pub(crate) fn resources(self, storage_gb: u64) -> Value {
        json!({"requests": {
            "cpu": self.cpu, "gpu": self.gpu, "memory": self.memory_gb, "storage": storage_gb,
        }})
    }
}
