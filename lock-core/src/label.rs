use std::fmt;

use crate::{Error, Result};

/// A text that describes an allocation: at most 64 bytes of UTF-8 without control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(try_from = "String", into = "String"))]
pub struct Label(String);

impl Label {
    /// The maximum length of a label, in bytes.
    pub const MAX: usize = 64;

    /// Creates a label.
    ///
    /// # Errors
    /// [`ErrorKind::BadLabel`](crate::ErrorKind::BadLabel) when the text is longer than [`Label::MAX`] bytes or contains a control
    /// character.
    ///
    /// # Examples
    /// ```
    /// use lock_core::Label;
    /// assert_eq!(Label::new("pod web")?.as_str(), "pod web");
    /// assert!(Label::new("two\nlines").is_err());
    /// # Ok::<(), lock_core::Error>(())
    /// ```
    pub fn new(text: impl Into<String>) -> Result<Self> {
        let text = text.into();
        if text.len() > Self::MAX {
            let reason = format!("it is {} bytes long; at most {} are allowed", text.len(), Self::MAX);
            return Err(Error::bad_label(text, reason));
        }
        if text.chars().any(char::is_control) {
            let reason = "it contains a control character; remove that character".to_owned();
            return Err(Error::bad_label(text, reason));
        }
        Ok(Self(text))
    }

    /// Creates a label from any text: the start of a text that is too long, with `?` in place of control characters.
    ///
    /// # Examples
    /// ```
    /// use lock_core::Label;
    /// assert_eq!(Label::truncated("two\nlines").as_str(), "two?lines");
    /// assert_eq!(Label::truncated(&"é".repeat(40)).as_str(), "é".repeat(32));
    /// ```
    pub fn truncated(text: &str) -> Self {
        let fits = |(at, c): &(usize, char)| at + c.len_utf8() <= Self::MAX;
        Self(text.char_indices().take_while(fits).map(|(_, c)| if c.is_control() { '?' } else { c }).collect())
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text as a string.
    pub fn into_string(self) -> String {
        self.0
    }

    /// Returns true if the text is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
