//! Files that hold a result: whole, or not there.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use tempfile::NamedTempFile;

/// A file that appears under its name only when all of it is written. A process that is killed leaves none, so that no
/// half result, and no result of an earlier run, is taken for this run's.
#[derive(Debug)]
pub(crate) struct OutputFile {
    path: PathBuf,
    waiting: NamedTempFile,
}

impl OutputFile {
    /// Begins the file and removes what stands under its name. A missing folder is made.
    pub(crate) fn begin(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        fs::create_dir_all(folder)?;
        let waiting = tempfile::Builder::new()
            .prefix(".polytab-")
            // As any file that a command writes; those of `tempfile` are for their owner only.
            .permissions(Permissions::from_mode(0o644))
            .tempfile_in(folder)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        Ok(Self {
            path: path.to_owned(),
            waiting,
        })
    }

    /// Writes the content and gives the file its name.
    pub(crate) fn finish(mut self, content: &str) -> io::Result<()> {
        self.waiting.write_all(content.as_bytes())?;
        self.waiting.persist(&self.path)?;
        Ok(())
    }
}

/// Writes a whole file at once.
pub(crate) fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    // A pipe or a device, as `/dev/stdout`, has no place beside it.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return fs::write(path, content);
    }
    OutputFile::begin(path)?.finish(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_appears_when_it_is_whole_and_an_older_one_goes_at_the_beginning() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/junit.xml");
        write_whole(&path, "old").unwrap();

        let file = OutputFile::begin(&path).unwrap();
        let at_the_beginning = path.exists();
        file.finish("new").unwrap();

        assert!(!at_the_beginning);
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();

        drop(OutputFile::begin(&folder.path().join("junit.xml")).unwrap());

        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
