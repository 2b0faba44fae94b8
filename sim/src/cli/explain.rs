//! `polytab explain`: problems, standing rules, close codes and exit codes at more length.

use polytab_protocol::close::{CloseCode, Return};

use super::{Exit, complain, say};
use crate::{judge::rule::Rule, scenario::explain, suggest::nearest};

pub(super) fn explain(what: Option<&str>) -> anyhow::Result<Exit> {
    let Some(what) = what else {
        return say(&everything());
    };
    let found = problem(what)
        .or_else(|| rule(what))
        .or_else(|| close_code(what))
        .or_else(|| (what == "exit").then(exit_codes))
        .or_else(|| exit_code(what));
    if let Some(text) = found {
        return say(&text);
    }
    let names = names();
    let help = nearest(what, names.iter().map(String::as_str)).map_or_else(
        || "`polytab explain` lists what can be explained".to_owned(),
        |near| format!("did you mean `{near}`?"),
    );
    complain(&format!("there is nothing to explain about `{what}`; {help}"));
    Ok(Exit::Usage)
}

fn names() -> Vec<String> {
    let problems = explain::CODES.iter().map(|code| code.code.as_str().to_owned());
    let rules = Rule::ALL.iter().map(|rule| rule.name().to_owned());
    let closes = CloseCode::ALL.iter().map(|code| code.number().to_string());
    problems
        .chain(rules)
        .chain(closes)
        .chain(["exit".to_owned()])
        .collect()
}

fn problem(name: &str) -> Option<String> {
    let found = explain::find(name)?;
    Some(format!("{}: {}", found.code.as_str(), found.text))
}

fn rule(name: &str) -> Option<String> {
    let rule = Rule::ALL.into_iter().find(|rule| rule.name() == name)?;
    Some(format!(
        "{}: a standing rule. It holds in every scenario that does not waive it: {}.\n\nA scenario that breaks it on \
         purpose says so, with the reason:\n\n    waive: {{ {name}: why }}",
        rule.name(),
        rule.meaning()
    ))
}

fn close_code(number: &str) -> Option<String> {
    let code = CloseCode::from_number(number.parse().ok()?)?;
    let then = match code.then() {
        Return::Never => "must not come back by itself".to_owned(),
        Return::AfterSignIn => "comes back after the person signed in again".to_owned(),
        Return::BackOff(first) => {
            format!("comes back after {first:?}, waiting half as long again after each failure")
        }
        Return::AsTold => "comes back after the time that the close reason names (`retry_ms=…`)".to_owned(),
    };
    Some(format!("{}: {}. The tab {then}.", code.number(), code.meaning()))
}

fn exit_codes() -> String {
    let lines = Exit::ALL.map(|exit| format!("{:>4}  {}", exit.code(), exit.meaning()));
    lines.join("\n")
}

fn exit_code(number: &str) -> Option<String> {
    let number: u8 = number.parse().ok()?;
    let exit = Exit::ALL.into_iter().find(|exit| exit.code() == number)?;
    Some(format!("{number}: the exit code for this: {}", exit.meaning()))
}

fn everything() -> String {
    let list = |title: &str, names: Vec<String>| format!("{title}:\n  {}", names.join("\n  "));
    let problems = explain::CODES
        .iter()
        .map(|code| code.code.as_str().to_owned())
        .collect();
    let rules = Rule::ALL
        .iter()
        .map(|rule| format!("{:28} {}", rule.name(), rule.meaning()))
        .collect();
    let closes = CloseCode::ALL
        .iter()
        .map(|code| format!("{} {}", code.number(), code.meaning()))
        .collect();
    [
        list("problems of scenario files", problems),
        list("standing rules", rules),
        list("close codes", closes),
        list("exit codes", vec!["exit".to_owned()]),
    ]
    .join("\n\n")
}
