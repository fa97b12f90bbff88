//! Checking the drained stream: every byte that goes to the log belongs to a record whose checksum holds
//! (PROTOCOL F2). The stream arrives in runs that cut records anywhere; nothing is copied but headers.

use crate::record::{HEADER_BYTES, Lsn, RawHeader, header_crc};

/// Where the check stands in the stream.
#[derive(Debug)]
pub(crate) struct StreamCheck {
    salt: u32,
    incarnation: u32,
    /// Address of the next byte to come.
    position: Lsn,
    /// Address of the current record.
    start: Lsn,
    header: [u8; HEADER_BYTES],
    /// Bytes of the current header that have come.
    have: usize,
    /// Bytes of the current record after its header that are still to come.
    left: u64,
    crc: u32,
    expected: u32,
}

/// The address of the first record that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRecord(pub(crate) Lsn);

impl StreamCheck {
    /// A check from `base` on, where a record starts.
    pub(crate) fn new(salt: u32, incarnation: u32, base: Lsn) -> Self {
        Self {
            salt,
            incarnation,
            position: base,
            start: base,
            header: [0; HEADER_BYTES],
            have: 0,
            left: 0,
            crc: 0,
            expected: 0,
        }
    }

    /// Takes the run at `at`, which must be the next one.
    pub(crate) fn feed(&mut self, at: Lsn, mut run: &[u8]) -> Result<(), BadRecord> {
        if at != self.position {
            return Err(BadRecord(at));
        }
        self.position += run.len() as u64;
        while !run.is_empty() {
            run = if self.have < HEADER_BYTES { self.feed_header(run)? } else { self.feed_rest(run)? };
        }
        Ok(())
    }

    /// To be asked where the stream pauses, which it does between records only: a length that points beyond
    /// what came is found here.
    pub(crate) fn pause(&self) -> Result<(), BadRecord> {
        if self.have == 0 { Ok(()) } else { Err(BadRecord(self.start)) }
    }

    fn feed_header<'r>(&mut self, run: &'r [u8]) -> Result<&'r [u8], BadRecord> {
        let (now, later) = run.split_at(run.len().min(HEADER_BYTES - self.have));
        self.header[self.have..self.have + now.len()].copy_from_slice(now);
        self.have += now.len();
        if self.have == HEADER_BYTES {
            let header = RawHeader::parse(&self.header, self.start)
                .filter(|header| header.incarnation == self.incarnation)
                .ok_or(BadRecord(self.start))?;
            self.left = u64::from(header.length) - HEADER_BYTES as u64;
            self.expected = header.crc;
            self.crc = header_crc(self.salt, &self.header);
            self.finish_if_whole(u64::from(header.length))?;
        }
        Ok(later)
    }

    fn feed_rest<'r>(&mut self, run: &'r [u8]) -> Result<&'r [u8], BadRecord> {
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(run.len());
        let (now, later) = run.split_at(take);
        self.crc = crc32c::crc32c_append(self.crc, now);
        self.left -= now.len() as u64;
        let length = RawHeader::parse(&self.header, self.start).map_or(0, |header| u64::from(header.length));
        self.finish_if_whole(length)?;
        Ok(later)
    }

    fn finish_if_whole(&mut self, length: u64) -> Result<(), BadRecord> {
        if self.left > 0 {
            return Ok(());
        }
        if self.crc != self.expected {
            return Err(BadRecord(self.start));
        }
        self.start += length;
        self.have = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{BadRecord, StreamCheck};
    use crate::record::Draft;

    fn stream() -> Vec<u8> {
        let mut bytes = Vec::new();
        for value in [&b""[..], b"short", &[7; 300]] {
            let draft = Draft::put(1, b"key", value).unwrap();
            let lsn = 4096 + bytes.len() as u64;
            draft.prepare(None, 3).with_parts(lsn, 9, |parts| bytes.extend(parts.concat()));
        }
        let lsn = 4096 + bytes.len() as u64;
        Draft::mark(0, 0).prepare(None, 3).with_parts(lsn, 9, |parts| bytes.extend(parts.concat()));
        bytes
    }

    #[test]
    fn a_sound_stream_passes_wherever_its_runs_are_cut() {
        let bytes = stream();
        for cut in 0..=bytes.len() {
            let mut check = StreamCheck::new(9, 3, 4096);
            check.feed(4096, &bytes[..cut]).unwrap();
            check.feed(4096 + cut as u64, &bytes[cut..]).unwrap();
            check.pause().unwrap();
        }
    }

    #[test]
    fn any_flipped_byte_is_caught() {
        let mut bytes = stream();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            let mut check = StreamCheck::new(9, 3, 4096);
            assert!(check.feed(4096, &bytes).and_then(|()| check.pause()).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
        assert!(StreamCheck::new(9, 4, 4096).feed(4096, &bytes).is_err(), "another incarnation");
    }

    #[test]
    fn a_run_that_is_not_the_next_is_refused() {
        assert_eq!(StreamCheck::new(9, 3, 4096).feed(4104, &stream()), Err(BadRecord(4104)));
    }
}
