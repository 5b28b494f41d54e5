use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead};
use std::sync::Arc;

use flate2::Decompress;

use crate::byte_source::ByteSource;
use crate::directory::{self, Listed};
use crate::entry::{Current, Entry};
use crate::error::{Fault, ZipError};
use crate::limits::Limits;
use crate::record::{CENTRAL, DESCRIPTOR, END, HAS_DESCRIPTOR, LOCAL, Local, ONE_PART, STORED, ZIP64_END};
use crate::spool::{self, Maker, Sizes};

/// A zip, read forwards.
pub struct Archive<R> {
    pub(crate) source: ByteSource<R>,
    pub(crate) limits: Limits,
    pub(crate) inflate: Decompress,
    /// Size of all content so far, in bytes.
    pub(crate) expanded: u64,
    pub(crate) state: State,
    pub(crate) listed: Vec<Listed>,
    names: HashSet<Arc<str>>,
    make_spool: Maker,
    sizes: Option<Sizes>,
}

pub(crate) enum State {
    /// Before a record.
    Between,
    /// In the data of an entry.
    Data(Current),
    /// The archive was read to its last byte and is valid.
    Done,
    /// After an error. Nothing that was read is valid.
    Failed,
}

impl<R: BufRead> Archive<R> {
    /// Reads the archive that `input` consists of. Best is an `input` with a buffer of 64 KiB or more.
    pub fn new(input: R, limits: Limits) -> Archive<R> {
        Archive {
            source: ByteSource::new(input, 0, limits.compressed),
            limits,
            inflate: Decompress::new(false),
            expanded: 0,
            state: State::Between,
            listed: Vec::new(),
            names: HashSet::new(),
            make_spool: Box::new(tempfile::tempfile),
            sizes: None,
        }
    }

    /// Sets how to create the file for the rest of an archive that cannot be read forwards: empty, open for reading and
    /// writing, and without a name. The default is a file in the system's temporary directory.
    pub fn spool_with(mut self, make: impl FnMut() -> io::Result<File> + Send + 'static) -> Archive<R> {
        self.make_spool = Box::new(make);
        self
    }

    /// The next entry. The rest of the entry before it is read and checked first. `None`: the archive was read to its end
    /// and is valid.
    ///
    /// # Errors
    /// The first fault found. Every later call fails too.
    pub fn next_entry(&mut self) -> Result<Option<Entry<'_, R>>, ZipError> {
        self.guard(Archive::advance)?;
        Ok(Entry::of(self))
    }

    /// Reads the rest, and returns all entries in their order.
    ///
    /// # Errors
    /// The first fault found.
    pub fn finish(mut self) -> Result<Vec<Listed>, ZipError> {
        while self.next_entry()?.is_some() {}
        Ok(self.listed)
    }

    /// Bytes of the archive that were read.
    pub fn position(&self) -> u64 {
        self.source.at()
    }

    /// Bytes of content that were read.
    pub fn expanded(&self) -> u64 {
        self.expanded
    }

    /// Runs a step. After an error every step fails with [`Fault::Failed`].
    pub(crate) fn guard<T>(&mut self, step: impl FnOnce(&mut Self) -> Result<T, ZipError>) -> Result<T, ZipError> {
        if matches!(self.state, State::Failed) {
            return Err(Fault::Failed.at(self.source.at()));
        }
        step(self).inspect_err(|_| self.state = State::Failed)
    }

    /// Goes to the next entry, or to the end.
    fn advance(&mut self) -> Result<(), ZipError> {
        if matches!(self.state, State::Data(_)) {
            let mut unwanted = vec![0; 32 * 1024];
            while self.read_data(&mut unwanted)? > 0 {}
        }
        if matches!(self.state, State::Done) {
            return Ok(());
        }
        let at = self.source.at();
        let signature = self.source.signature()?;
        match signature {
            LOCAL => self.begin(),
            CENTRAL | END | ZIP64_END => {
                directory::check(&mut self.source, &mut self.listed, &self.limits)?;
                self.state = State::Done;
                Ok(())
            }
            DESCRIPTOR | ONE_PART if at == 0 => Err(Fault::Split.at(at)),
            _ if at == 0 => Err(Fault::NotAZip.at(at)),
            other => Err(Fault::UnknownRecord(other).at(at)),
        }
    }

    fn begin(&mut self) -> Result<(), ZipError> {
        let offset = self.source.at();
        if self.listed.len() as u64 >= self.limits.entries {
            return Err(Fault::TooManyEntries(self.limits.entries).at(offset));
        }
        let local = Local::read(&mut self.source, &self.limits)?;
        let name: Arc<str> = local.name.as_str().into();
        let failed = |error: ZipError| error.of(&name);
        let compressed = self.compressed_size(&local, offset).map_err(failed)?;
        // A stored entry has one size.
        let size = if local.method == STORED { compressed } else { local.size };
        if local.method == STORED && local.size.is_some() && local.size != compressed {
            return Err(failed(Fault::StoredSizes.at(offset)));
        }
        if size.is_some_and(|size| size > self.limits.expanded.saturating_sub(self.expanded)) {
            return Err(failed(Fault::TooLargeExpanded(self.limits.expanded).at(offset)));
        }
        if !self.names.insert(name.clone()) {
            return Err(failed(Fault::Duplicate.at(offset)));
        }
        self.inflate.reset(false);
        self.state = State::Data(Current::new(name, offset, &local, compressed, size));
        Ok(())
    }

    /// `None` only for deflated data, which marks its own end.
    fn compressed_size(&mut self, local: &Local, offset: u64) -> Result<Option<u64>, ZipError> {
        if local.method != STORED || local.flags & HAS_DESCRIPTOR == 0 || local.compressed.is_some() {
            return Ok(local.compressed);
        }
        if local.name.ends_with('/') {
            return Ok(Some(0));
        }
        let sizes = match self.sizes.take() {
            Some(sizes) => sizes,
            None => self.spool()?,
        };
        let size = sizes.get(&offset).copied();
        self.sizes = Some(sizes);
        size.map(Some).ok_or_else(|| Fault::NotListed.at(offset))
    }

    fn spool(&mut self) -> Result<Sizes, ZipError> {
        let file = (self.make_spool)().map_err(ZipError::Spool)?;
        let base = self.source.at();
        let (file, length) = self.source.spool(file)?;
        let sizes = spool::sizes(&file, base, length, &self.limits)?;
        self.source.rewind_spool().map_err(ZipError::Spool)?;
        Ok(sizes)
    }
}
