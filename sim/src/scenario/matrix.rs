//! `matrix`: one run for each combination of values.

use std::sync::Arc;

use super::{
    explain::Code,
    node::{Data, Node},
    problem::{Problem, shown},
    source::Source,
};

/// How many combinations of matrix values are run at most.
const ROWS: usize = 1000;
/// Values in all rows together: each row is a whole copy of the file.
const NODES: usize = 2_000_000;

/// One combination of matrix values.
pub(super) type Row = Vec<(String, Node)>;

/// All combinations; one empty row without a matrix, or when it cannot be used.
pub(super) fn rows(source: &Arc<Source>, root: &Node, problems: &mut Vec<Problem>) -> Vec<Row> {
    let mut rows = vec![Row::new()];
    let Some(matrix) = root.get("matrix") else {
        return rows;
    };
    for pair in matrix.pairs() {
        let Data::List(values) = &pair.value.data else {
            continue; // Reading the type says what is wrong.
        };
        let problem = |message: String| Problem::new(Code::EmptyMatrix, source, pair.key_at.clone(), message);
        if values.is_empty() {
            let message = format!(
                "the matrix has no values for `{}`, so nothing would run",
                shown(&pair.key)
            );
            problems.push(problem(message).help("add values, or remove the name"));
            continue;
        }
        if rows.len() * values.len() > ROWS {
            problems.push(
                problem(format!("the matrix gives more than {ROWS} combinations")).help("use fewer values"),
            );
            return vec![Row::new()];
        }
        if let Some(var) = root
            .get("vars")
            .and_then(|vars| vars.pairs().iter().find(|var| var.key == pair.key))
        {
            let message = format!("`{}` is both a variable and a matrix name", shown(&pair.key));
            problems.push(
                Problem::new(Code::DuplicateName, source, pair.key_at.clone(), message)
                    .related(source, var.key_at.clone(), "the variable")
                    .help("rename one of the two"),
            );
        }
        rows = rows
            .iter()
            .flat_map(|row| values.iter().map(|value| extended(row, &pair.key, value)))
            .collect();
    }
    let nodes = rows.len().saturating_mul(count(root));
    if nodes > NODES {
        let message = format!(
            "{} combinations of a file with {} values give {nodes}; at most {NODES} are allowed",
            rows.len(),
            count(root)
        );
        problems.push(
            Problem::new(Code::TooLarge, source, 0..0, message)
                .help("use fewer matrix values, or fewer steps"),
        );
        return vec![Row::new()];
    }
    rows
}

/// Values in a part of the file, itself among them.
fn count(node: &Node) -> usize {
    let items = node.items().iter().map(count);
    let fields = node.pairs().iter().map(|pair| count(&pair.value));
    1 + items.chain(fields).sum::<usize>()
}

fn extended(row: &Row, name: &str, value: &Node) -> Row {
    let mut row = row.clone();
    row.push((name.to_owned(), value.clone()));
    row
}

/// A row as output names it: `event=issue`.
pub(super) fn name(row: &Row) -> String {
    let parts = row.iter().map(|(name, value)| match value.text() {
        Some(text) => format!("{name}={}", shown(text)),
        None => format!("{name}={}", value.value()),
    });
    parts.collect::<Vec<_>>().join(",")
}
