//! Quotations: a block of code after a comment `<!-- from FILE -->` in a document is a part of that file.

use std::fs;

use crate::Result;
use crate::shell::root;

const BEGIN: &str = "<!-- from ";
const END: &str = " -->\n";

/// The objections to a document.
pub(super) fn objections(document: &str, text: &str) -> Result<Vec<String>> {
    let mut objections = Vec::new();
    for rest in text.split(BEGIN).skip(1) {
        let Some((file, code)) = quotation(rest) else {
            objections.push(format!("{document}: no block of code follows a comment `{BEGIN}FILE -->`"));
            continue;
        };
        match fs::read_to_string(root().join(file)) {
            Err(error) => objections.push(format!("{document}: {file}: {error}")),
            Ok(source) if !source.contains(code) => objections.push(format!("{document}: {file} does not contain\n{code}")),
            Ok(_) => {}
        }
    }
    Ok(objections)
}

/// The file and the quoted text after the start of a comment.
fn quotation(rest: &str) -> Option<(&str, &str)> {
    let (file, rest) = rest.split_once(END)?;
    let (_, code) = rest.strip_prefix("```")?.split_once('\n')?;
    Some((file, code.split_once("```")?.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_the_block_after_the_comment() {
        assert_eq!(quotation("a.rs -->\n```rust\nfn a() {}\n```\n"), Some(("a.rs", "fn a() {}\n")));
        assert_eq!(quotation("a.rs -->\ntext\n"), None);
    }

    #[test]
    fn a_quotation_that_differs_is_an_objection() {
        let quoting = |code: &str| format!("{BEGIN}LICENSE-MIT{END}```text\n{code}```\n");
        assert!(objections("a.md", &quoting("Copyright (c) the contributors to this repository\n")).unwrap().is_empty());
        assert_eq!(objections("a.md", &quoting("another licence\n")).unwrap().len(), 1);
    }
}
