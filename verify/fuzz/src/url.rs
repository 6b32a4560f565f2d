use std::os::unix::ffi::OsStrExt;

use lock_core::{ErrorDetails, Label, LockId, StoreUrl};
use lock_table::{Bound, Mode, TableOptions};

/// Checks that a text is refused with a typed error, or parsed to a value with consistent parts.
///
/// The text is parsed as a URL, and as each other type that is parsed from text.
///
/// # Panics
/// If an accepted value has inconsistent parts, or if the error has the wrong kind.
pub fn url(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    parse(&text);
    // Most texts are no URL, so parse the text as a place, as options, and as the value of an option too.
    for wrapped in [format!("shm:{text}"), format!("shm:x?{text}"), format!("shm:x?capacity={text}&mode={text}")] {
        parse(&wrapped);
    }
    // Each option can be given only once.
    let twice = format!("shm:x?{text}&{text}");
    refused(&twice.parse::<StoreUrl>().expect_err("an option is given twice"), &twice);
    values(&text);
}

fn parse(text: &str) {
    let url: StoreUrl = match text.parse() {
        Ok(url) => url,
        Err(error) => return refused(&error, text),
    };
    let location = url.location().as_os_str().as_bytes();
    // A relative path becomes absolute. The text does not change otherwise.
    let is_unchanged = url.as_str() == text;
    assert!(is_unchanged || url.location().is_absolute());
    assert!(url.location().is_absolute() || !location.contains(&b'/'));
    assert_eq!(url.to_string(), url.as_str());
    assert_eq!(url.as_str().parse::<StoreUrl>().expect("the text is a URL"), url);
    assert_eq!(text.parse::<StoreUrl>().expect("parsing is deterministic"), url);
    assert!(text.starts_with(&format!("{}:", url.scheme())) && !url.scheme().is_empty());
    assert!(!location.contains(&0));
    // With each byte escaped, the place is the same.
    let escaped: String = location.iter().map(|byte| format!("%{byte:02x}")).collect();
    let plain: StoreUrl = format!("{}:{escaped}", url.scheme()).parse().expect("any place can be escaped");
    assert_eq!((plain.scheme(), plain.location()), (url.scheme(), url.location()));
    if url.location().is_absolute() {
        let built = StoreUrl::builder(url.scheme()).path(url.location()).build().expect("the location is a path");
        assert_eq!((built.scheme(), built.location()), (url.scheme(), url.location()));
    }
    plain.options().finish().expect("the URL has no options");

    let has_options = text.contains('?');
    assert_eq!(url.options().finish().is_err(), has_options);
    let mut options = url.options();
    let taken = TableOptions::take(&mut options);
    match taken.and_then(|taken| options.finish().map(|()| taken)) {
        Ok(taken) => {
            let some = [taken.bound.is_some(), taken.mode.is_some(), taken.owner.is_some(), taken.group.is_some()];
            assert_eq!(some.contains(&true), has_options);
        }
        Err(error) => refused(&error, url.as_str()),
    }
    let mut options = url.options();
    let capacity = options.take::<String>("capacity").expect("any value is a string");
    assert_eq!(options.take::<String>("capacity").expect("the option was taken"), None);
    assert!(capacity.is_none_or(|capacity| !capacity.contains('\0')));
}

fn refused(error: &lock_core::Error, text: &str) {
    assert!(matches!(error.details(), ErrorDetails::BadUrl { url, .. } if url == text), "{text:?}: {error}");
    assert!(!error.to_string().is_empty());
}

fn values(text: &str) {
    if let Ok(id) = text.parse::<LockId>() {
        assert_eq!(id.to_string().parse(), Ok(id));
    }
    if let Ok(bound) = text.parse::<Bound>() {
        assert!(bound != Bound::Locks(0));
        assert_eq!(bound.to_string().parse(), Ok(bound));
    }
    if let Ok(mode) = text.parse::<Mode>() {
        assert_eq!((mode.bits() & 0o600, mode.bits() & !0o666), (0o600, 0));
        assert_eq!(format!("{:04o}", mode.bits()).parse(), Ok(mode));
    }
    match Label::new(text) {
        Ok(label) => {
            assert_eq!(label.as_str(), text);
            assert!(text.len() <= Label::MAX && !text.chars().any(char::is_control));
        }
        Err(error) => {
            assert!(matches!(error.details(), ErrorDetails::BadLabel { label, .. } if label == text), "{error}");
            assert!(text.len() > Label::MAX || text.chars().any(char::is_control));
        }
    }
}
