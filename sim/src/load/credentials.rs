//! Who the users of a load are: a CSV file with a row each, or names that are numbered.

use std::{io, path::Path};

use http::{HeaderName, HeaderValue, header};
use thiserror::Error;

/// Rows of a file at most.
const MOST_ROWS: usize = 10_000_000;

/// One user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Credential {
    pub(crate) name: String,
    pub(crate) password: Option<String>,
    /// What the handshake carries: a cookie, a token, or any header by its name.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
}

/// Why a file names no users. What follows `; ` is the mend.
#[derive(Debug, Error)]
pub(crate) enum CredentialsError {
    #[error("cannot read `{path}`")]
    Read {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("`{path}` is no CSV file: {error}")]
    Form { path: String, error: csv::Error },
    #[error("`{path}` has no column `user`; its first line names the columns, as `user,cookie`")]
    NoUser { path: String },
    #[error("`{path}`, line {line}, column `{column}`: what stands there cannot be in a header")]
    Header { path: String, line: u64, column: String },
    #[error(
        "`{path}` has {rows} users, and the profile wants {wanted}; add rows, or ask for fewer with `--users {rows}`"
    )]
    Few { path: String, rows: usize, wanted: u64 },
    #[error("`{path}` has more than {MOST_ROWS} rows")]
    Many { path: String },
}

/// Reads the users of a file: the columns `user` and, where they are needed, `password`, `cookie` (the value of the
/// `Cookie` header), `token` (a bearer token), or the name of any header.
///
/// # Errors
///
/// When the file cannot be read, is no CSV, or names fewer users than wanted.
pub(crate) fn read(path: &Path, wanted: u64) -> Result<Vec<Credential>, CredentialsError> {
    let name = path.display().to_string();
    let file = std::fs::File::open(path).map_err(|source| CredentialsError::Read {
        path: name.clone(),
        source,
    })?;
    let all = parse(&name, file)?;
    if (all.len() as u64) < wanted {
        return Err(CredentialsError::Few {
            path: name,
            rows: all.len(),
            wanted,
        });
    }
    Ok(all)
}

fn parse(path: &str, content: impl io::Read) -> Result<Vec<Credential>, CredentialsError> {
    let form = |error| CredentialsError::Form {
        path: path.to_owned(),
        error,
    };
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_reader(content);
    let columns = reader.headers().map_err(form)?.clone();
    if !columns.iter().any(|column| column == "user") {
        return Err(CredentialsError::NoUser {
            path: path.to_owned(),
        });
    }
    let mut all = Vec::new();
    for row in reader.records() {
        let row = row.map_err(form)?;
        if all.len() == MOST_ROWS {
            return Err(CredentialsError::Many {
                path: path.to_owned(),
            });
        }
        let mut credential = Credential::default();
        for (column, value) in columns.iter().zip(&row) {
            match column {
                "user" => value.clone_into(&mut credential.name),
                "password" => credential.password = Some(value.to_owned()),
                column => {
                    let header = header_of(column, value).ok_or_else(|| CredentialsError::Header {
                        path: path.to_owned(),
                        line: row.position().map_or(0, csv::Position::line),
                        column: column.to_owned(),
                    })?;
                    credential.headers.push(header);
                }
            }
        }
        all.push(credential);
    }
    Ok(all)
}

fn header_of(column: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let (name, value) = match column {
        "cookie" => (header::COOKIE, value.to_owned()),
        "token" => (header::AUTHORIZATION, format!("Bearer {value}")),
        column => (column.parse().ok()?, value.to_owned()),
    };
    let mut value = HeaderValue::from_str(&value).ok()?;
    value.set_sensitive(true);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_become_passwords_and_headers() {
        let all = parse(
            "u.csv",
            "user,password,cookie,x-team\nada,p,\"a=1; b=2\",red\nbob,q,c=3,blue\n".as_bytes(),
        )
        .unwrap();

        let shown: Vec<_> = all[0]
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(shown, [("cookie", "a=1; b=2"), ("x-team", "red")]);
        assert_eq!(
            (all[1].name.as_str(), all[1].password.as_deref()),
            ("bob", Some("q"))
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (content, part) in [
            ("name,cookie\nada,x\n", "no column `user`"),
            ("user,cookie\nada\n", "no CSV file"),
            ("user,to ken\nada,x\n", "line 2, column `to ken`"),
        ] {
            let error = parse("u.csv", content.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
