//! Statements, the values of their parameters, and their rows.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

/// A statement that a connection prepares at its first use.
#[derive(Debug)]
pub(crate) struct Statement {
    /// The name on the server. Each statement has its own.
    pub(crate) name: &'static str,
    pub(crate) text: &'static str,
}

/// The value of a parameter.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    Null,
    Number(i64),
    Text(&'a str),
}

impl Value<'_> {
    /// Writes the value in the text format.
    pub(crate) fn write(self, buffer: &mut BytesMut) -> bool {
        match self {
            Self::Null => return false,
            Self::Number(number) => write!(buffer, "{number}").expect("a buffer grows"),
            Self::Text(text) => buffer.put_slice(text.as_bytes()),
        }
        true
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<i32> for Value<'_> {
    fn from(number: i32) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Self::Text(if value { "t" } else { "f" })
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text)
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(text)
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A row of a result, in the text format.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Row(pub(crate) Vec<Option<String>>);

impl Row {
    /// Returns the text of a column, or `None` for null.
    pub(crate) fn text(&self, column: usize) -> Option<&str> {
        self.0.get(column)?.as_deref()
    }

    /// Returns the number in a column, or `None` for null.
    pub(crate) fn number(&self, column: usize) -> Option<i64> {
        self.text(column)?.parse().ok()
    }

    /// Returns true if the column is true.
    pub(crate) fn is_true(&self, column: usize) -> bool {
        self.text(column) == Some("t")
    }
}
