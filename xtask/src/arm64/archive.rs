//! The initramfs: a cpio archive in the format "newc", which a kernel unpacks before it runs `/init`.

/// An unfinished archive. All files belong to root.
#[derive(Default)]
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

impl Archive {
    pub(super) fn directory(&mut self, name: &str) {
        self.entry(name, 0o040_755, &[]);
    }

    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_644, content);
    }

    pub(super) fn program(&mut self, name: &str, content: &[u8]) {
        self.entry(name, 0o100_755, content);
    }

    /// Finishes the archive, and returns its bytes.
    pub(super) fn end(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, content: &[u8]) {
        self.entries += 1;
        let length = u32::try_from(content.len()).expect("the format has room for files of 4 GiB");
        // Inode, mode, user, group, links, time, length, device, node device (major and minor of each), length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, 0, 0, name.len() as u32 + 1, 0];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend_from_slice(content);
        self.align();
    }

    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_names_and_contents_begin_at_multiples_of_four() {
        let mut archive = Archive::default();
        archive.directory("a");
        archive.file("a/b", b"12345");
        let bytes = archive.end();
        let starts: Vec<_> = bytes.windows(6).enumerate().filter(|(_, bytes)| *bytes == b"070701").map(|(at, _)| at).collect();
        assert_eq!(starts, [0, 112, 112 + 116 + 8]);
        assert_eq!(&bytes[112 + 110..][..3], b"a/b");
        assert_eq!(&bytes[112 + 116..][..5], b"12345");
        assert_eq!(bytes.len() % 4, 0);
    }
}
