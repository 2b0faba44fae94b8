//! Topics: `/project/<id>/<eventType>`, parsed before anything is done with them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A kind of project event that a tab may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Commits were pushed to a branch.
    Push,
    /// A tag was pushed.
    TagPush,
    /// An issue changed.
    Issue,
    /// Somebody commented.
    Note,
    /// A merge request changed.
    MergeRequest,
    /// A pipeline changed its state.
    Pipeline,
    /// A job changed its state.
    Job,
    /// A release changed.
    Release,
    /// A deployment changed.
    Deployment,
}

impl EventType {
    /// Every event type, in the order of PROTOCOL A3.
    pub const ALL: &[Self] = &[
        Self::Push,
        Self::TagPush,
        Self::Issue,
        Self::Note,
        Self::MergeRequest,
        Self::Pipeline,
        Self::Job,
        Self::Release,
        Self::Deployment,
    ];

    /// The word on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Push => "push",
            Self::TagPush => "tag_push",
            Self::Issue => "issue",
            Self::Note => "note",
            Self::MergeRequest => "merge_request",
            Self::Pipeline => "pipeline",
            Self::Job => "job",
            Self::Release => "release",
            Self::Deployment => "deployment",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        Self::ALL
            .iter()
            .copied()
            .find(|event| event.as_str() == text)
            .ok_or(TopicError::EventType)
    }
}

/// What a tab subscribes to: one kind of event of one project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Topic {
    /// The project's number.
    pub project: u64,
    /// The kind of event.
    pub event: EventType,
}

/// Why a text is not a topic. It never repeats the text, which may be long and hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TopicError {
    /// Not of the form `/project/<id>/<eventType>`.
    #[error("a topic has the form `/project/<id>/<eventType>`")]
    Form,
    /// The id is not an unsigned integer.
    #[error("the project id in a topic is an unsigned integer")]
    Project,
    /// The event type is not one of those known.
    #[error(
        "the event type of a topic is one of push, tag_push, issue, note, merge_request, pipeline, job, release, deployment"
    )]
    EventType,
}

impl FromStr for Topic {
    type Err = TopicError;

    fn from_str(text: &str) -> Result<Self, TopicError> {
        let rest = text.strip_prefix("/project/").ok_or(TopicError::Form)?;
        let (id, event) = rest.split_once('/').ok_or(TopicError::Form)?;
        // `u64::from_str` takes a leading plus, and leading zeros would give one topic two names.
        let plain = !id.is_empty()
            && id.bytes().all(|byte| byte.is_ascii_digit())
            && (id.len() == 1 || !id.starts_with('0'));
        if !plain {
            return Err(TopicError::Project);
        }
        Ok(Self {
            project: id.parse().map_err(|_| TopicError::Project)?,
            event: event.parse()?,
        })
    }
}

impl From<Topic> for String {
    fn from(topic: Topic) -> Self {
        topic.to_string()
    }
}

impl TryFrom<String> for Topic {
    type Error = TopicError;

    fn try_from(text: String) -> Result<Self, TopicError> {
        text.parse()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/project/{}/{}", self.project, self.event)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_that_is_no_topic_says_what_is_wrong() {
        for (text, error) in [
            ("", TopicError::Form),
            ("/project/42", TopicError::Form),
            ("/projects/42/push", TopicError::Form),
            ("/project//push", TopicError::Project),
            ("/project/+4/push", TopicError::Project),
            ("/project/04/push", TopicError::Project),
            ("/project/-1/push", TopicError::Project),
            ("/project/99999999999999999999999/push", TopicError::Project),
            ("/project/42/", TopicError::EventType),
            ("/project/42/push/../../x", TopicError::EventType),
            ("/project/42/Push", TopicError::EventType),
        ] {
            assert_eq!(text.parse::<Topic>(), Err(error), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_topic_survives_print_and_parse(project: u64, event in 0..EventType::ALL.len()) {
            let topic = Topic { project, event: EventType::ALL[event] };

            prop_assert_eq!(topic.to_string().parse(), Ok(topic));
        }

        #[test]
        fn any_text_that_parses_prints_itself(text in "/project/[0-9+]{1,4}/[a-z_]{1,14}") {
            if let Ok(topic) = text.parse::<Topic>() {
                prop_assert_eq!(topic.to_string(), text);
            }
        }
    }
}
