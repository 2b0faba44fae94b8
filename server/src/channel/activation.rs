//! Knowledge-graph activation: which projects are followed, and how far each is (PROTOCOL A4, B6).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use polytab_protocol::{message::ServerMessage, sessions::Activation};
use serde_json::{Map, json};

use super::event::Age;

/// The projects a channel follows.
#[derive(Debug, Default)]
pub(crate) struct Activations {
    projects: BTreeMap<u64, Followed>,
}

#[derive(Debug)]
struct Followed {
    value: Option<Activation>,
    since: Age,
}

impl Followed {
    /// Whether nothing more will come of it.
    fn is_over(&self) -> bool {
        match self.value {
            Some(Activation::Percent(percent)) => percent == 100,
            Some(Activation::Failed | Activation::TimedOut) => true,
            Some(Activation::Unknown) | None => false,
        }
    }
}

impl Activations {
    /// How many projects are followed or known.
    pub(crate) fn len(&self) -> usize {
        self.projects.len()
    }

    /// Follows these too; one that is followed already keeps its start, one that was over begins anew.
    pub(crate) fn follow(&mut self, projects: impl IntoIterator<Item = u64>, age: Age) {
        for project in projects {
            let known = self.projects.get(&project);
            if known.is_none_or(Followed::is_over) {
                self.projects.insert(
                    project,
                    Followed {
                        value: None,
                        since: age,
                    },
                );
            }
        }
    }

    /// Follows those that another instance's tabs follow.
    pub(crate) fn adopt(&mut self, projects: impl IntoIterator<Item = u64>, age: Age) {
        for project in projects {
            self.projects.entry(project).or_insert(Followed {
                value: None,
                since: age,
            });
        }
    }

    /// The projects that something may still come of.
    pub(crate) fn under_way(&self) -> BTreeSet<u64> {
        let under_way = self.projects.iter().filter(|(_, followed)| !followed.is_over());
        under_way.map(|(project, _)| *project).collect()
    }

    /// The projects to ask about at a turn; those that are over are forgotten first.
    pub(crate) fn begin_turn(&mut self) -> BTreeSet<u64> {
        self.projects.retain(|_, followed| !followed.is_over());
        self.projects.keys().copied().collect()
    }

    /// Takes in what a turn learned; says whether anything changed.
    pub(crate) fn learn(
        &mut self,
        learned: &BTreeMap<u64, Activation>,
        age: Age,
        patience: Duration,
    ) -> bool {
        let mut changed = false;
        for (project, followed) in self
            .projects
            .iter_mut()
            .filter(|(_, followed)| !followed.is_over())
        {
            let news = learned
                .get(project)
                .copied()
                .filter(|news| Some(*news) != followed.value);
            if let Some(news) = news {
                *followed = Followed {
                    value: Some(news),
                    since: age,
                };
                changed = true;
            } else if age.saturating_sub(followed.since) >= patience {
                followed.value = Some(Activation::TimedOut);
                changed = true;
            }
        }
        changed
    }

    /// The whole map as a message; none while nothing is known.
    pub(crate) fn message(&self) -> Option<ServerMessage> {
        let known = self
            .projects
            .iter()
            .filter_map(|(project, followed)| Some((project.to_string(), followed.value?.number().into())));
        let map: Map<String, serde_json::Value> = known.collect();
        let text = serde_json::Value::Object(map.clone()).to_string();
        (!map.is_empty()).then(|| ServerMessage::user("activation", &json!({ "message": text })))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_mins(2);
    const SECOND: Duration = Duration::from_secs(1);

    fn learn(activations: &mut Activations, value: Activation, at_s: u32) -> bool {
        activations.learn(&BTreeMap::from([(7, value)]), SECOND * at_s, PATIENCE)
    }

    fn text(activations: &Activations) -> String {
        activations
            .message()
            .map_or_else(String::new, |message| message.data().to_owned())
    }

    #[test]
    fn progress_is_told_once_and_ends_at_a_hundred() {
        let mut activations = Activations::default();
        activations.follow([7], Duration::ZERO);

        assert!(learn(&mut activations, Activation::Percent(50), 5));
        assert!(!learn(&mut activations, Activation::Percent(50), 10));
        assert!(learn(&mut activations, Activation::Percent(100), 15));

        assert_eq!(text(&activations), r#"{"message":"{\"7\":100}"}"#);
        assert_eq!(activations.begin_turn(), BTreeSet::new());
    }

    #[test]
    fn no_progress_for_too_long_is_told_and_followed_no_more() {
        let mut activations = Activations::default();
        activations.follow([7], Duration::ZERO);
        learn(&mut activations, Activation::Percent(50), 100);

        assert!(!learn(&mut activations, Activation::Percent(50), 219));
        assert!(learn(&mut activations, Activation::Percent(50), 220));

        assert_eq!(text(&activations), r#"{"message":"{\"7\":-408}"}"#);
        activations.begin_turn();
        assert_eq!(activations.len(), 0);
    }

    #[test]
    fn asking_again_keeps_the_start_of_what_is_followed() {
        let mut activations = Activations::default();
        activations.follow([7], Duration::ZERO);

        activations.follow([7], SECOND * 100);

        assert!(activations.learn(&BTreeMap::new(), PATIENCE, PATIENCE));
    }
}
