//! What `doppel bench storage` answers.

use std::fmt::Write as _;

use serde::Serialize;

use super::counting::Bytesum;

/// The disk by itself: 4 KiB appended and synced, one after the other.
#[derive(Debug, Serialize)]
pub(super) struct Disk {
    pub(super) fsyncs_per_second: f64,
    /// The same with as many bytes as one object of all writers has.
    pub(super) fsyncs_of_groups_per_second: f64,
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    /// 99 of 100 times, three in a row take no longer.
    pub(super) three_p99_ms: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Acknowledged {
    pub(super) writers: u16,
    pub(super) per_second: f64,
    /// Against the disk's own rate.
    pub(super) times_fsync_rate: f64,
    pub(super) times_fsync_rate_of_groups: f64,
    pub(super) median_ms: f64,
    pub(super) p99_ms: f64,
    /// Three median fsyncs and the group window.
    pub(super) bound_ms: f64,
    /// The p99 of three fsyncs in a row and the group window: what the p99 is held against.
    pub(super) bound_p99_ms: f64,
    pub(super) records_per_object: f64,
}

/// How long opening took, until the first search was answered.
#[derive(Debug, Serialize)]
pub(super) struct Recovered {
    pub(super) images: usize,
    pub(super) objects: usize,
    pub(super) bytes: u64,
    pub(super) seconds: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Amplification {
    pub(super) images: u64,
    pub(super) deleted: u64,
    pub(super) seal_rows: usize,
    pub(super) record_bytes: u64,
    pub(super) written: Bytesum,
    /// Bytes of objects and metadata for each byte of a record.
    pub(super) factor: f64,
    /// The same by what the kernel sent to the disk for this process; none where it does not tell.
    pub(super) disk_factor: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) dim: usize,
    pub(super) disk: Disk,
    pub(super) acknowledged: Acknowledged,
    pub(super) wal: Recovered,
    pub(super) sealed: Recovered,
    pub(super) amplification: Amplification,
}

impl Recovered {
    pub(super) fn text(&self, what: &str, dim: usize) -> anyhow::Result<String> {
        let mut out = String::new();
        writeln!(
            out,
            "recovery, {what:7} {} images of dimension {dim} in {} objects, {:.1} MB: {:.2} s",
            self.images,
            self.objects,
            self.bytes as f64 / 1e6,
            self.seconds
        )?;
        Ok(out)
    }
}

impl Report {
    pub(super) fn text(&self) -> anyhow::Result<String> {
        let mut out = String::new();
        let (disk, acks) = (&self.disk, &self.acknowledged);
        writeln!(
            out,
            "disk              {:.0} fsyncs/s, one after the other, 4 KiB each; median {:.2} ms, p99 {:.2} ms, three in a row \
         p99 {:.2} ms; {:.0} fsyncs/s of a group each",
            disk.fsyncs_per_second,
            disk.median_ms,
            disk.p99_ms,
            disk.three_p99_ms,
            disk.fsyncs_of_groups_per_second
        )?;
        writeln!(
            out,
            "acknowledgements  {:.0}/s by {} writers = {:.1} × the fsync rate, {:.1} × that of groups; median {:.2} ms, p99 {:.2} ms \
         (3 fsyncs + window: {:.2} ms at the median, {:.2} ms at p99); {:.1} records an object",
            acks.per_second,
            acks.writers,
            acks.times_fsync_rate,
            acks.times_fsync_rate_of_groups,
            acks.median_ms,
            acks.p99_ms,
            acks.bound_ms,
            acks.bound_p99_ms,
            acks.records_per_object
        )?;
        out.push_str(&self.wal.text("log", self.dim)?);
        out.push_str(&self.sealed.text("sealed", self.dim)?);
        let (amp, stored) = (
            &self.amplification,
            (self.amplification.images * self.amplification.record_bytes) as f64,
        );
        write!(
            out,
            "written           {:.2} bytes for each byte of {} records of {} bytes, {} of them deleted again, sealed every {}: \
         log {:.2}, segments {:.2}, tombstones {:.3}, metadata {:.3}",
            amp.factor,
            amp.images,
            amp.record_bytes,
            amp.deleted,
            amp.seal_rows,
            amp.written.wal as f64 / stored,
            amp.written.segments as f64 / stored,
            amp.written.tombstones as f64 / stored,
            amp.written.metadata as f64 / stored
        )?;
        match amp.disk_factor {
            Some(factor) => writeln!(out, "; to the disk {factor:.2}")?,
            None => writeln!(out)?,
        }
        Ok(out)
    }
}
