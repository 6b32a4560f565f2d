//! The documents: the parts that are generated, quoted or counted are up to date, and links lead to files.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::quotes;
use crate::shell::{self, root};
use crate::{Result, matrix, mutants, readme};

const PROMISES: &str = "docs/promises.md";

/// The objections to the documents.
pub(super) fn objections() -> Result<Vec<String>> {
    let mut objections: Vec<_> = matrix::check().err().map(|error| error.to_string()).into_iter().collect();
    objections.extend(readme::objections()?);
    let count = format!("plants {} wrong changes", mutants::count());
    if !fs::read_to_string(root().join(PROMISES))?.contains(&count) {
        objections.push(format!("{PROMISES}: the number of planted changes is out of date; the text has to say {count:?}"));
    }
    let documents = shell::read(Command::new("git").current_dir(root()).args(["ls-files", "-z", "*.md"]))?;
    for document in documents.split_terminator('\0') {
        let path = root().join(document);
        let directory = path.parent().ok_or("a file is in a directory")?;
        let text = fs::read_to_string(&path)?;
        let dead = links(&text).filter(|link| !leads_to_a_file(directory, link));
        objections.extend(quotes::objections(document, &text)?);
        objections.extend(dead.map(|link| format!("{document}: there is no {link}")));
    }
    Ok(objections)
}

/// The targets of the links `[text](target)` in a Markdown text.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0))
}

fn leads_to_a_file(directory: &Path, link: &str) -> bool {
    let file = link.split_once('#').map_or(link, |(file, _)| file);
    link.contains("://") || file.is_empty() || directory.join(file).exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_links_to_files_that_exist_are_accepted() {
        let text = "a [README](README.md), [a part](README.md#part) [site](https://example.org) [gone](gone.md)";
        let dead: Vec<_> = links(text).filter(|link| !leads_to_a_file(&root(), link)).collect();
        assert_eq!(dead, ["gone.md"]);
    }
}
