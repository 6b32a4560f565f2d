//! The protocol between suite and peer: lines of words that are separated by tabs.
//!
//! A command is `TAG THREAD VERB ARGUMENT…`. The peer answers `TAG begin TID` if the verb may block, and then
//! `TAG ok KEY=VALUE…`, `TAG refused KIND TEXT KEY=VALUE…` or `TAG panicked TEXT`. Answers may arrive in any order.

use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::str::FromStr;

/// Joins words to a line, without a line end.
pub(crate) fn join(words: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let escaped = |word: &str| word.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n");
    words.into_iter().map(|word| escaped(word.as_ref())).collect::<Vec<_>>().join("\t")
}

/// Splits a line into its words.
pub(crate) fn split(line: &str) -> Vec<String> {
    line.trim_end_matches('\n').split('\t').map(unescape).collect()
}

fn unescape(word: &str) -> String {
    let mut text = String::with_capacity(word.len());
    let mut chars = word.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.next() } else { None }) {
            ('\\', Some('t')) => text.push('\t'),
            ('\\', Some('n')) => text.push('\n'),
            ('\\', Some(other)) => text.push(other),
            (c, _) => text.push(c),
        }
    }
    text
}

/// The named values of an answer.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub(crate) struct Fields(BTreeMap<String, String>);

impl Fields {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a value.
    pub(crate) fn with(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.0.insert(key.into(), value.to_string());
        self
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the value, if present.
    pub(crate) fn find<T: FromStr>(&self, key: &str) -> Option<T> {
        let text = self.0.get(key)?;
        Some(text.parse().unwrap_or_else(|_| panic!("a peer sent {key}={text}, which cannot be parsed")))
    }

    /// Returns the value. Panics if it is absent.
    pub(crate) fn get<T: FromStr>(&self, key: &str) -> T {
        self.find(key).unwrap_or_else(|| panic!("a peer sent no value of {key}: {self:?}"))
    }

    /// Returns a list of numbers.
    pub(crate) fn numbers(&self, key: &str) -> Vec<u32> {
        let text: String = self.get(key);
        text.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().expect("a number")).collect()
    }

    pub(crate) fn words(&self) -> impl Iterator<Item = String> + '_ {
        self.0.iter().map(|(key, value)| format!("{key}={value}"))
    }

    fn read(words: &[String]) -> Self {
        Self(words.iter().filter_map(|w| w.split_once('=')).map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
    }
}

/// Formats numbers for [`Fields::numbers`].
pub(crate) fn list(numbers: impl IntoIterator<Item = u32>) -> String {
    numbers.into_iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// An error of the library in a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// The name of the `ErrorKind`.
    pub(crate) kind: String,
    /// The message.
    pub(crate) text: String,
    /// The fields of the kind.
    pub(crate) fields: Fields,
}

impl Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// A peer's answer to a command.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The thread with this id has started the command.
    Begun(u32),
    /// The command succeeded.
    Done(Fields),
    /// The library returned an error.
    Refused(Refusal),
    /// The peer's thread panicked.
    Panicked(String),
}

impl Answer {
    pub(crate) fn line(&self, tag: u64) -> String {
        let mut words = vec![tag.to_string()];
        match self {
            Self::Begun(tid) => words.extend(["begin".to_owned(), tid.to_string()]),
            Self::Done(fields) => {
                words.push("ok".to_owned());
                words.extend(fields.words());
            }
            Self::Refused(refusal) => {
                words.extend(["refused".to_owned(), refusal.kind.clone(), refusal.text.clone()]);
                words.extend(refusal.fields.words());
            }
            Self::Panicked(text) => words.extend(["panicked".to_owned(), text.clone()]),
        }
        join(words)
    }

    /// Parses a line to a tag and an answer.
    pub(crate) fn read(line: &str) -> Option<(u64, Self)> {
        let words = split(line);
        let (tag, word, rest) = (words.first()?.parse().ok()?, words.get(1)?, &words[2..]);
        let answer = match (word.as_str(), rest) {
            ("begin", [tid]) => Self::Begun(tid.parse().ok()?),
            ("ok", fields) => Self::Done(Fields::read(fields)),
            ("refused", [kind, text, fields @ ..]) => {
                Self::Refused(Refusal { kind: kind.clone(), text: text.clone(), fields: Fields::read(fields) })
            }
            ("panicked", [text]) => Self::Panicked(text.clone()),
            _ => return None,
        };
        Some((tag, answer))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn split_reverts_join() {
        let words = ["a", "", "tab\there", "two\nlines", "back\\slash\\t"];
        assert_eq!(split(&join(words)), words);
    }

    #[test]
    fn an_answer_is_read_back_unchanged() {
        let fields = Fields::new().with("ids", list([1, 2])).with("label.1", "a b=c");
        let refusal = Refusal { kind: "TimedOut".to_owned(), text: "held by\tpid 3".to_owned(), fields: fields.clone() };
        let Some((7, Answer::Refused(read))) = Answer::read(&Answer::Refused(refusal.clone()).line(7)) else { panic!() };
        assert_eq!(read, refusal);
        assert_eq!(read.fields.numbers("ids"), [1, 2]);
    }
}
