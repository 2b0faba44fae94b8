//! Reading a result that somebody else may have written.

use serde_json::{Number, Value};
use thiserror::Error;

use crate::result::LoadResult;

/// Largest number in a result. Times are in seconds and counts in pieces; a year of a million messages a second has
/// fewer.
const LARGEST: f64 = 1e14;
/// The place of the seed, which is any 64-bit number.
const SEED: &str = "/seed";

/// Why a text is not a result.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Not JSON, or of another form.
    #[error("is not a result of a load")]
    Form(#[from] serde_json::Error),
    /// A number that no run gives.
    #[error("has the number {number} at `{pointer}`; numbers must be between 0 and {LARGEST:e}")]
    Number {
        /// The number.
        number: Number,
        /// Its place, as a JSON pointer.
        pointer: String,
    },
    /// A stretch of time outside all phases.
    #[error("has an interval in phase {phase}; it has {phases} phases, counted from 0")]
    Phase {
        /// The phase that is named.
        phase: usize,
        /// Phases that exist.
        phases: usize,
    },
}

/// Reads one result.
///
/// # Errors
///
/// When the text has another form, or numbers that no run gives.
pub fn parse(text: &str) -> Result<LoadResult, ReadError> {
    let value: Value = serde_json::from_str(text)?;
    check_numbers(&value, &mut String::new())?;
    let result: LoadResult = serde_json::from_value(value)?;
    let phases = result.phases.len();
    match result.intervals.iter().find(|interval| interval.phase >= phases) {
        Some(interval) => Err(ReadError::Phase {
            phase: interval.phase,
            phases,
        }),
        None => Ok(result),
    }
}

fn check_numbers(value: &Value, pointer: &mut String) -> Result<(), ReadError> {
    match value {
        Value::Number(number) if pointer != SEED && !is_plausible(number) => Err(ReadError::Number {
            number: number.clone(),
            pointer: pointer.clone(),
        }),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            check_all(items.map(|(index, item)| (index.to_string(), item)), pointer)
        }
        Value::Object(fields) => {
            let fields = fields.iter();
            check_all(fields.map(|(key, field)| (key.clone(), field)), pointer)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Ok(()),
    }
}

fn check_all<'a>(
    parts: impl Iterator<Item = (String, &'a Value)>,
    pointer: &mut String,
) -> Result<(), ReadError> {
    let length = pointer.len();
    for (key, part) in parts {
        pointer.push('/');
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        check_numbers(part, pointer)?;
        pointer.truncate(length);
    }
    Ok(())
}

fn is_plausible(number: &Number) -> bool {
    number
        .as_f64()
        .is_some_and(|number| (0.0..=LARGEST).contains(&number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{merge::merge, report, result::samples::result};

    /// Paths of all numbers of a sample.
    fn number_pointers(value: &Value, pointer: &str, found: &mut Vec<String>) {
        match value {
            Value::Number(_) => found.push(pointer.to_owned()),
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    number_pointers(item, &format!("{pointer}/{index}"), found);
                }
            }
            Value::Object(fields) => {
                for (key, field) in fields {
                    number_pointers(field, &format!("{pointer}/{key}"), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::String(_) => {}
        }
    }

    #[test]
    fn a_number_that_no_run_gives_is_named_with_its_place() {
        let mut value = serde_json::to_value(result(2)).unwrap();
        value["intervals"][1]["to_s"] = 1e308.into();

        let error = parse(&value.to_string()).unwrap_err().to_string();

        assert_eq!(
            error,
            "has the number 1e+308 at `/intervals/1/to_s`; numbers must be between 0 and 1e14"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_number_makes_a_reader_panic(
            nth in any::<prop::sample::Index>(),
            number in prop_oneof![
                any::<u64>().prop_map(Number::from),
                any::<i64>().prop_map(Number::from),
                any::<f64>().prop_filter_map("JSON has no NaN", Number::from_f64),
            ],
        ) {
            let mut value = serde_json::to_value(result(2)).unwrap();
            let mut pointers = Vec::new();
            number_pointers(&value, "", &mut pointers);
            *value.pointer_mut(nth.get(pointers.as_slice()).as_str()).unwrap() = number.into();

            if let Ok(result) = parse(&value.to_string())
                && let Ok(merged) = merge(vec![result])
            {
                report::html(&merged);
                report::csv(&merged);
                report::prometheus(&merged);
                report::junit(&merged).ok();
            }
        }
    }
}
