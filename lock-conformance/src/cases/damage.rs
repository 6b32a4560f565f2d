//! Files that are no store or are unsafe to use.
//!
//! Opening them fails with a typed error and does not change them.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use super::cases;
use crate::fixture::Fixture;
use crate::process::Thread;

cases! { "damage";
    another_beginning_is_refused [STORE FILES];
    a_file_of_something_else_is_refused [STORE FILES];
    every_truncation_is_refused [STORE FILES];
    every_changed_byte_is_survived [STORE FILES];
    a_file_that_others_may_write_is_refused [STORE FILES];
    a_file_of_another_owner_is_refused [STORE FILES ROOT];
    a_symbolic_link_is_refused [STORE FILES];
    a_hard_link_is_refused [STORE FILES];
    a_directory_instead_of_a_file_is_refused [STORE FILES];
    a_store_whose_file_is_whole_again_opens [STORE FILES];
}

/// Kinds of errors that describe a fault of a store.
const TYPED: [&str; 7] = ["NotAStore", "Destroyed", "OtherVersion", "OtherAbi", "OtherCapacity", "Corrupt", "Untrusted"];

/// A store that no process has open, and its files.
struct Victim {
    url: String,
    files: Vec<PathBuf>,
}

impl Victim {
    fn new(fixture: &Fixture) -> Self {
        let (dir, url) = fixture.fresh_place();
        let maker = fixture.blank_peer();
        maker.must("open", &["create", &url]);
        fixture.kill(&maker.process);
        let files = (fixture.suite.files.as_ref().expect("the case needs files"))(&dir, &url);
        assert!(!files.is_empty(), "the suite names no file of the store");
        for file in &files {
            assert!(file.is_file(), "the suite names {}, which is no file of a new store", file.display());
        }
        Self { url, files }
    }

    /// Asserts that opening the store fails and leaves the file unchanged.
    fn is_refused(&self, prober: &Thread, file: &Path, why: &str) {
        let before = beginning(file);
        for mode in ["open", "open_or_create"] {
            match prober.ask("probe", &[mode, &self.url]) {
                Ok(_) => panic!("{mode} accepted a store although {why}"),
                Err(refusal) => {
                    assert!(TYPED.contains(&refusal.kind.as_str()), "{why}, but the error has the wrong kind: {refusal}");
                }
            }
        }
        assert!(beginning(file) == before, "a refused open changed the store ({why})");
    }
}

/// Number of bytes that a case compares and restores. Stores may be sparse and large.
const KEPT: u64 = 1 << 20;

/// Returns the length and the first bytes of a file; `None` if it is no regular file.
fn beginning(path: &Path) -> Option<(u64, Vec<u8>)> {
    let file = File::open(path).ok().filter(|file| file.metadata().is_ok_and(|facts| facts.is_file()))?;
    let length = file.metadata().ok()?.len();
    let mut bytes = vec![0; length.min(KEPT) as usize];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some((length, bytes))
}

fn put_back(file: &Path, (length, bytes): &(u64, Vec<u8>)) {
    let file = File::options().write(true).open(file).expect("the file can be opened");
    file.set_len(*length).expect("the length can be restored");
    file.write_all_at(bytes, 0).expect("the bytes can be restored");
}

fn overwrite(file: &Path, at: u64, bytes: &[u8]) {
    File::options().write(true).open(file).and_then(|file| file.write_all_at(bytes, at)).expect("the file can be written");
}

fn another_beginning_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let whole = beginning(file).expect("a file");
        for other in [[0; 8], [0xff; 8], *b"\x7fELF\x02\x01\x01\0"] {
            overwrite(file, 0, &other);
            victim.is_refused(&prober, file, "its first bytes were changed");
        }
        put_back(file, &whole);
    }
}

fn a_file_of_something_else_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let whole = beginning(file).expect("a file");
        let noise: Vec<u8> = (0u32..16384).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for other in [vec![], b"hello\n".to_vec(), vec![0; 16384], noise] {
            fs::write(file, other).expect("the file can be written");
            victim.is_refused(&prober, file, "its content was replaced");
        }
        put_back(file, &whole);
    }
}

fn every_truncation_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let whole = beginning(file).expect("a file");
        let near_ends = (0..200).chain((0..8).map(|n| whole.0.saturating_sub(n + 1)));
        let pages = (0..whole.0 / 4096).take(64).flat_map(|page| [page * 4096 - 1.min(page), page * 4096, page * 4096 + 1]);
        let halves = (0..40).map(|n| whole.0 >> n);
        for length in near_ends.chain(pages).chain(halves).filter(|length| *length < whole.0) {
            File::options().write(true).open(file).and_then(|file| file.set_len(length)).expect("the file can be truncated");
            victim.is_refused(&prober, file, &format!("it was truncated to {length} of {} bytes", whole.0));
            put_back(file, &whole);
        }
    }
}

/// A changed byte may be harmless or cause a typed error, but it must not crash the process.
fn every_changed_byte_is_survived(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let whole = beginning(file).expect("a file");
        for (at, byte) in whole.1.iter().enumerate().take(4096) {
            for changed in [!byte, byte ^ 1] {
                overwrite(file, at as u64, &[changed]);
                if let Err(refusal) = prober.ask("probe", &["open", &victim.url]) {
                    let typed = TYPED.contains(&refusal.kind.as_str());
                    assert!(typed, "byte {at} was changed, but the error has the wrong kind: {refusal}");
                }
                // A successful open may have changed other bytes.
                put_back(file, &whole);
            }
        }
    }
}

fn a_file_that_others_may_write_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let before = fs::metadata(file).expect("a file").permissions();
        for mode in [0o620, 0o602, 0o666] {
            fs::set_permissions(file, Permissions::from_mode(mode)).expect("the mode can be set");
            victim.is_refused(&prober, file, &format!("its mode is {mode:o}"));
        }
        fs::set_permissions(file, before).expect("the mode can be set");
    }
}

fn a_file_of_another_owner_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        chown(file, Some(65534), None).expect("root can change the owner");
        victim.is_refused(&prober, file, "it belongs to another user");
        chown(file, Some(0), None).expect("root can change the owner");
    }
}

fn a_symbolic_link_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let elsewhere = fixture.dir().join("elsewhere");
        fs::rename(file, &elsewhere).expect("the file can be moved");
        symlink(&elsewhere, file).expect("the link can be created");
        victim.is_refused(&prober, file, "it is a symbolic link");
        fs::remove_file(file).expect("the link can be removed");
        symlink(fixture.dir().join("nowhere"), file).expect("the link can be created");
        victim.is_refused(&prober, file, "it is a symbolic link to nothing");
        fs::remove_file(file).expect("the link can be removed");
        fs::rename(&elsewhere, file).expect("the file can be moved back");
    }
}

fn a_hard_link_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let elsewhere = file.with_extension("other-name");
        fs::hard_link(file, &elsewhere).expect("the link can be created");
        victim.is_refused(&prober, file, "it has a second name");
        fs::remove_file(&elsewhere).expect("the link can be removed");
    }
}

fn a_directory_instead_of_a_file_is_refused(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let elsewhere = fixture.dir().join("elsewhere");
        fs::rename(file, &elsewhere).expect("the file can be moved");
        fs::create_dir(file).expect("the directory can be created");
        victim.is_refused(&prober, file, "it is a directory");
        fs::remove_dir(file).expect("the directory can be removed");
        fs::rename(&elsewhere, file).expect("the file can be moved back");
    }
}

/// Proves that the other cases of this group fail because of the damage: the restored store opens.
fn a_store_whose_file_is_whole_again_opens(fixture: &Fixture) {
    let (victim, prober) = (Victim::new(fixture), fixture.blank_peer());
    for file in &victim.files {
        let whole = beginning(file).expect("a file");
        overwrite(file, 0, &[0; 8]);
        victim.is_refused(&prober, file, "its first bytes were changed");
        put_back(file, &whole);
        prober.must("probe", &["open", &victim.url]);
    }
}
