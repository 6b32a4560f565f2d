//! Percent-encoding of locations and options.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// The bytes of a location that are encoded. No shell and no message needs quotes for the others.
const LOCATION: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':').remove(b'@').remove(b'+');

/// The bytes of an option that are encoded.
const OPTION: &AsciiSet = &LOCATION.remove(b',');

/// Encodes the bytes of a location.
pub(super) fn encode_location(location: &[u8]) -> String {
    percent_encode(location, LOCATION).to_string()
}

/// Encodes a key or a value of an option.
pub(super) fn encode_option(text: &str) -> String {
    percent_encode(text.as_bytes(), OPTION).to_string()
}

/// Decodes a part of a URL to bytes without a NUL.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, &'static str> {
    let is_encoded = |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if text.contains('\0') {
        Err("it contains a NUL byte; remove that byte")
    } else if !text.split('%').skip(1).all(is_encoded) || bytes.contains(&0) {
        Err("two hexadecimal digits other than 00 must follow a %; write %25 for a percent sign")
    } else {
        Ok(bytes)
    }
}

/// Decodes a key or a value of an option.
pub(super) fn decode_option(text: &str) -> Result<String, &'static str> {
    String::from_utf8(decode(text)?).map_err(|_| "a decoded option is not UTF-8; encode UTF-8 with %XX")
}
