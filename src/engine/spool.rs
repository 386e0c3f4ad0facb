//! A bounded file for what the database does not take: records of any content, each with its length and checksum, read in the order
//! in which they were written. What was written is there after the death of the process; a torn end is cut off. The file belongs
//! to one process, which locks it: a later one takes over only files that nobody has locked.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// First bytes of the file: its kind and version. Then the length of the name of the database and that name, then the records:
/// length and CRC-32 of the content, both 4 bytes with the lowest first, and the content.
const MAGIC: &[u8; 8] = b"PLIMSPL1";
/// Longest record; a length beyond it is damage.
const LONGEST: u32 = 64 * 1024 * 1024;
const HEAD: u64 = 8;
const SUFFIX: &str = "spool";

/// Where spools are kept and how large one may become.
#[derive(Debug, Clone)]
pub struct SpoolPlace {
    /// The folder; made when it is needed.
    pub folder: PathBuf,
    /// Most bytes of records.
    pub limit: u64,
    /// The database that the records are for, without secrets.
    pub database: String,
    /// Name of the file of this process, without suffix.
    pub name: String,
}

/// Why a record was not kept.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// There is no room.
    #[error("the spool is full: {limit} bytes, the setting `spool_limit`")]
    Full {
        /// The bound.
        limit: u64,
    },
    /// The file cannot be written.
    #[error("the spool {path} cannot be written: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// An open spool.
#[derive(Debug)]
pub struct Spool {
    file: File,
    path: PathBuf,
    /// Bytes before the first record.
    begin: u64,
    /// Where the next record is read.
    read_at: u64,
    /// Where the next record is written.
    end: u64,
    limit: u64,
    records: u64,
}

impl Spool {
    /// A new, empty spool of this process.
    pub fn create(place: &SpoolPlace) -> Result<Self, SpoolError> {
        let path = place.folder.join(format!("{}.{SUFFIX}", place.name));
        let failed = |error| SpoolError::Io { path: path.clone(), error };
        std::fs::create_dir_all(&place.folder).map_err(failed)?;
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).map_err(failed)?;
        file.lock().map_err(failed)?;
        let name = place.database.as_bytes();
        let head = [MAGIC.as_slice(), &(name.len() as u32).to_le_bytes(), name].concat();
        file.write_all(&head).map_err(failed)?;
        let begin = head.len() as u64;
        Ok(Self { file, path, begin, read_at: begin, end: begin, limit: place.limit, records: 0 })
    }

    /// Spools that processes which are gone have left for this database; files in use, damaged at the head or for another database
    /// stay where they are. The second part says what is wrong with those that stay.
    pub fn left_behind(place: &SpoolPlace) -> (Vec<Self>, Vec<String>) {
        let (mut spools, mut odd) = (Vec::new(), Vec::new());
        let entries = std::fs::read_dir(&place.folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut paths: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|suffix| suffix == SUFFIX)).collect();
        paths.sort();
        for path in paths {
            match Self::open(&path, place) {
                Ok(spool) => spools.extend(spool),
                Err(error) => odd.push(format!("{} stays where it is: {error}", path.display())),
            }
        }
        (spools, odd)
    }

    /// `None` when another process has locked it.
    fn open(path: &Path, place: &SpoolPlace) -> io::Result<Option<Self>> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        if file.try_lock().is_err() {
            return Ok(None);
        }
        let database = read_head(&mut file)?;
        if database != place.database {
            return Err(io::Error::other(format!("it is for the database {database}")));
        }
        let begin = file.stream_position()?;
        let mut spool = Self { file, path: path.into(), begin, read_at: begin, end: u64::MAX, limit: place.limit, records: 0 };
        // Records up to the first that is not whole: behind it nothing can be trusted.
        let mut end = begin;
        while spool.read()?.is_some() {
            end = spool.read_at;
            spool.records += 1;
        }
        (spool.end, spool.read_at) = (end, begin);
        spool.file.set_len(end)?;
        Ok(Some(spool))
    }

    /// Adds a record. What is `vital` may exceed the bound: there is little of it.
    pub fn push(&mut self, record: &[u8], vital: bool) -> Result<(), SpoolError> {
        let size = HEAD + record.len() as u64;
        if !vital && self.end - self.begin + size > self.limit {
            return Err(SpoolError::Full { limit: self.limit });
        }
        let mut bytes = Vec::with_capacity(size as usize);
        bytes.extend_from_slice(&(record.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(record).to_le_bytes());
        bytes.extend_from_slice(record);
        let written = self.file.seek(SeekFrom::Start(self.end)).and_then(|_| self.file.write_all(&bytes));
        if let Err(error) = written {
            // What is there of it is not a whole record; nothing may stand behind it.
            let _ = self.file.set_len(self.end);
            return Err(SpoolError::Io { path: self.path.clone(), error });
        }
        self.end += size;
        self.records += 1;
        Ok(())
    }

    /// The records that come next, up to `most`; they stay until they are done with.
    pub fn peek(&mut self, most: usize) -> io::Result<Vec<Vec<u8>>> {
        let start = self.read_at;
        let mut records = Vec::new();
        while records.len() < most && self.read_at < self.end {
            match self.read()? {
                Some(record) => records.push(record),
                None => return Err(io::Error::other(format!("{} is damaged at byte {}", self.path.display(), self.read_at))),
            }
        }
        self.read_at = start;
        Ok(records)
    }

    /// Passes over so many records; when all are done with, the file is empty again.
    pub fn done(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            self.read()?;
            self.records = self.records.saturating_sub(1);
        }
        if self.read_at >= self.end {
            self.clear()?;
        }
        Ok(())
    }

    /// Forgets everything in it.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(self.begin)?;
        (self.read_at, self.end, self.records) = (self.begin, self.begin, 0);
        Ok(())
    }

    /// Records that are not done with.
    pub fn len(&self) -> u64 {
        self.records
    }

    /// True when all records are done with.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of the file.
    pub fn bytes(&self) -> u64 {
        self.end - self.begin
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes what was written survive the machine, too.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Removes the file, when all records are done with.
    pub fn remove(self) -> io::Result<()> {
        if self.is_empty() { std::fs::remove_file(&self.path) } else { Ok(()) }
    }

    /// The record at the place of reading; `None` at the end and where it is torn.
    fn read(&mut self) -> io::Result<Option<Vec<u8>>> {
        self.file.seek(SeekFrom::Start(self.read_at))?;
        let (mut length, mut sum) = ([0; 4], [0; 4]);
        if !filled(&mut self.file, &mut length)? || !filled(&mut self.file, &mut sum)? {
            return Ok(None);
        }
        let (length, sum) = (u32::from_le_bytes(length), u32::from_le_bytes(sum));
        if length > LONGEST {
            return Ok(None);
        }
        let mut record = vec![0; length as usize];
        if !filled(&mut self.file, &mut record)? || checksum(&record) != sum {
            return Ok(None);
        }
        self.read_at += HEAD + u64::from(length);
        Ok(Some(record))
    }
}

/// The name of the database in the head of a file.
fn read_head(file: &mut File) -> io::Result<String> {
    let (mut magic, mut length) = ([0; 8], [0; 4]);
    if !filled(file, &mut magic)? || magic != *MAGIC || !filled(file, &mut length)? {
        return Err(io::Error::other("it is not a spool of this version"));
    }
    let length = u32::from_le_bytes(length);
    let mut name = vec![0; length.min(4_096) as usize];
    if !filled(file, &mut name)? {
        return Err(io::Error::other("its head is torn"));
    }
    String::from_utf8(name).map_err(io::Error::other)
}

/// Fills the buffer; false when the file ends before.
fn filled(file: &mut File, buffer: &mut [u8]) -> io::Result<bool> {
    match file.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path) -> SpoolPlace {
        SpoolPlace { folder: folder.join("spool"), limit: 1_000, database: "me@db:5432/p".into(), name: "one".into() }
    }

    fn texts(spool: &mut Spool) -> Vec<String> {
        spool.peek(100).unwrap().into_iter().map(|record| String::from_utf8(record).unwrap()).collect()
    }

    #[test]
    fn records_come_in_order_and_stay_until_they_are_done_with() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(&place(folder.path())).unwrap();
        for record in ["a", "", "c"] {
            spool.push(record.as_bytes(), false).unwrap();
        }
        assert_eq!(spool.peek(2).unwrap(), [b"a".to_vec(), b"".to_vec()]);
        spool.done(1).unwrap();
        spool.push(b"d", false).unwrap();
        assert_eq!((texts(&mut spool), spool.len()), (vec![String::new(), "c".into(), "d".into()], 3));
        spool.done(3).unwrap();
        assert!(spool.is_empty() && spool.bytes() == 0 && spool.peek(9).unwrap().is_empty());
        spool.push(b"e", false).unwrap();
        assert_eq!(texts(&mut spool), ["e"]);
    }

    #[test]
    fn a_full_spool_takes_only_what_is_vital() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::create(&place(folder.path())).unwrap();
        spool.push(&[7; 900], false).unwrap();
        let error = spool.push(&[7; 100], false).unwrap_err();
        assert!(matches!(error, SpoolError::Full { limit: 1_000 }), "{error}");
        spool.push(&[7; 100], true).unwrap();
        spool.push(b"x", false).unwrap_err();
        spool.done(2).unwrap();
        spool.push(&[7; 100], false).unwrap();
    }

    #[test]
    fn another_process_takes_what_was_left_up_to_a_torn_end() {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        let mut spool = Spool::create(&place).unwrap();
        for record in ["a", "b", "c"] {
            spool.push(record.as_bytes(), false).unwrap();
        }
        assert!(Spool::left_behind(&place).0.is_empty(), "it is in use");
        let path = spool.path().to_owned();
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        // Cut anywhere, or with a flipped bit: every whole record before that is there, and nothing else.
        let last = whole.len() - 9;
        for (bytes, wanted) in [
            (whole.clone(), vec!["a", "b", "c"]),
            (whole[..whole.len() - 1].to_vec(), vec!["a", "b"]),
            (whole[..last + 3].to_vec(), vec!["a", "b"]),
            ([&whole[..last], &[0xff; 9]].concat(), vec!["a", "b"]),
            ([&whole[..whole.len() - 1], b"x".as_slice()].concat(), vec!["a", "b"]),
            ([whole.as_slice(), &[0; 5]].concat(), vec!["a", "b", "c"]),
        ] {
            std::fs::write(&path, bytes).unwrap();
            let (mut left, odd) = Spool::left_behind(&place);
            assert_eq!((left.len(), odd), (1, vec![]));
            assert_eq!(texts(&mut left[0]), wanted);
        }
        let other = SpoolPlace { database: "other".into(), ..place.clone() };
        let (left, odd) = Spool::left_behind(&other);
        assert!(left.is_empty() && odd[0].contains("me@db:5432/p"), "{odd:?}");
        std::fs::write(&path, "nonsense, and long enough").unwrap();
        assert!(Spool::left_behind(&place).1[0].contains("not a spool"));
    }

    #[test]
    fn a_folder_that_cannot_be_written_is_an_error_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("spool"), "a file").unwrap();
        let error = Spool::create(&place(folder.path())).unwrap_err().to_string();
        assert!(error.contains("one.spool cannot be written"), "{error}");
    }
}
