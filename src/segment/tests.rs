//! Segments round-trip, answer as a scan would, and notice every damage.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::builder::BATCH_ROWS;
use super::fixtures::{DIM, MADE, built, judgement, record, records};
use super::{Segment, SegmentError, SegmentSpec, Tombstones, build, map_file};
use crate::types::{ModelHash, SegmentId};

fn spec() -> SegmentSpec {
    SegmentSpec {
        dim: DIM,
        model: ModelHash::from_bytes([7; 32]),
    }
}

#[test]
fn rows_come_back_as_they_were_put_in() {
    for n in [0, 1, 2, 63, 300] {
        let judgements = [judgement(1, 2), judgement(3, 4)];
        let (built, file) = built(records(0..n), &judgements, spec()).expect("built");
        assert_eq!((built.rows, built.bytes), (n, file.len() as u64));
        assert_eq!(Segment::spec(&file), Ok(spec()));
        let segment = Segment::open(file, spec()).expect("opened");
        assert_eq!((segment.crc(), segment.made()), (built.crc, Some(MADE)));
        assert_eq!(segment.judgements().expect("read"), judgements);
        for expected in records(0..n) {
            let row = segment.find(&expected.id).expect("found");
            assert_eq!(segment.record(row).expect("read"), *expected);
            let print = &expected.fingerprint;
            assert_eq!(
                segment.by_pixel_hash(&print.pixel_hash).collect::<Vec<_>>(),
                [row]
            );
            let mut hits = BTreeMap::new();
            segment.pdq_within(&[print.pdq], 0, 50, |row, distance| {
                hits.insert(row, distance);
            });
            assert_eq!(hits, BTreeMap::from([(row, 0)]));
            assert_eq!(
                segment
                    .index()
                    .search(&print.embedding, 1, None)
                    .expect("searched")[0]
                    .row,
                row
            );
        }
        assert_eq!(segment.find(&record(n + 1).id), None);
    }
}

/// Built from the first four fixtures with a judgement, by the versions of before and of now. Fixture 4 and others hold more than
/// their picture, which version 1 could not say.
const GOLDEN: [(&[u8], u64); 2] = [
    (include_bytes!("testdata/v1.seg"), 4),
    (include_bytes!("testdata/v3.seg"), 5),
];

#[test]
fn files_of_earlier_versions_are_read() {
    for (file, n) in GOLDEN {
        let segment = Segment::open(Bytes::from_static(file), spec()).expect("opened");
        assert_eq!(segment.judgements().expect("read"), [judgement(1, 2)]);
        assert_eq!(segment.made(), Some(MADE));
        for expected in records(0..n) {
            let row = segment.find(&expected.id).expect("found");
            assert_eq!(segment.record(row).expect("read"), *expected);
        }
    }
    let (newest, n) = GOLDEN[1];
    let (_, built) = built(records(0..n), &[judgement(1, 2)], spec()).expect("built");
    assert!(built == newest, "not the golden file");
}

#[test]
fn rows_of_several_batches_are_one_sequence() {
    let n = 2 * BATCH_ROWS as u64 + 1;
    let (built, file) = built(records(0..n), &[judgement(1, 2)], spec()).expect("built");
    assert_eq!(built.rows, n);
    let reader = arrow_ipc::reader::FileReader::try_new(std::io::Cursor::new(&file), None);
    let lengths = reader
        .expect("an Arrow file")
        .map(|batch| batch.expect("a batch").num_rows());
    assert_eq!(lengths.collect::<Vec<_>>(), [BATCH_ROWS, BATCH_ROWS, 1]);
    let segment = Segment::open(file, spec()).expect("opened");
    assert_eq!(segment.judgements().expect("read"), [judgement(1, 2)]);
    for number in (0..n).step_by(97).chain([n - 1]) {
        let expected = record(number);
        let row = segment.find(&expected.id).expect("found");
        assert_eq!(segment.record(row).expect("read"), expected);
        let pixels = segment.by_pixel_hash(&expected.fingerprint.pixel_hash);
        assert_eq!(pixels.collect::<Vec<_>>(), [row]);
        let hits = segment.index().search(&expected.fingerprint.embedding, 1, None);
        assert_eq!(hits.expect("searched")[0].row, row);
    }
    let last = segment.id(u32::try_from(n - 1).expect("small"));
    assert_eq!(segment.find(&last), u32::try_from(n - 1).ok());
    let newest = segment.newest_first(None).take(2).map(|row| segment.id(row));
    assert_eq!(newest.collect::<Vec<_>>(), [record(n - 1).id, record(n - 2).id]);
    let mut qualities = 0;
    segment.pdq_within(&[record(0).fingerprint.pdq], 256, 0, |_, _| qualities += 1);
    assert_eq!(qualities, n);
}

#[test]
fn what_fails_while_a_segment_is_built_is_told() {
    let damaged = || SegmentError::corrupt("an input");
    let rows = [Ok(records(0..1).remove(0)), Err(damaged())];
    assert_eq!(
        build(rows.into_iter(), &[], MADE, spec(), Vec::new()),
        Err(damaged())
    );
    let mut small = [0u8; 1000];
    let full = build(
        records(0..1).into_iter().map(Ok),
        &[],
        MADE,
        spec(),
        &mut small[..],
    );
    assert!(matches!(full, Err(SegmentError::NotWritten { .. })), "{full:?}");
    let falling = records(0..9).into_iter().map(Ok);
    let refused = build(falling, &[], MADE, spec(), Vec::new());
    assert!(
        matches!(refused, Err(SegmentError::Invalid { .. })),
        "{refused:?}"
    );
}

#[test]
fn newest_come_first_from_any_cursor() {
    let (_, file) = built(records(0..50), &[], spec()).expect("built");
    let segment = Segment::open(file, spec()).expect("opened");
    let order: Vec<_> = segment.newest_first(None).map(|row| segment.id(row)).collect();
    let expected: Vec<_> = (0..50).rev().map(|n| record(n).id).collect();
    assert_eq!(order, expected);
    let cursor = record(20);
    let rest: Vec<_> = segment
        .newest_first(Some((cursor.created, cursor.id)))
        .map(|row| segment.id(row))
        .collect();
    assert_eq!(rest, expected[30..]);
}

#[test]
fn a_file_mapped_from_disk_is_the_same() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let path = dir.path().join("a.seg");
    let (_, file) = built(records(0..100), &[], spec()).expect("built");
    std::fs::write(&path, &file).expect("written");
    let segment = Segment::open(map_file(&path).expect("mapped"), spec()).expect("opened");
    std::fs::remove_file(&path).expect("removed");
    assert_eq!(
        segment
            .record(segment.find(&record(7).id).expect("found"))
            .expect("read"),
        record(7)
    );
}

#[test]
fn an_arrow_reader_reads_the_rows() {
    let (_, file) = built(records(0..10), &[judgement(1, 2)], spec()).expect("built");
    let reader =
        arrow_ipc::reader::FileReader::try_new(std::io::Cursor::new(file), None).expect("an Arrow file");
    assert!(reader.schema().metadata()["doppel.judgements"].contains("not_duplicate"));
    let batches: Vec<_> = reader.map(|batch| batch.expect("a batch")).collect();
    assert_eq!(
        batches
            .iter()
            .map(arrow_array::RecordBatch::num_rows)
            .sum::<usize>(),
        10
    );
    assert!(batches[0].column_by_name("name").is_some());
}

#[test]
fn every_flipped_bit_and_every_cut_is_noticed() {
    let (_, file) = built(records(0..20), &[], spec()).expect("built");
    for byte in 0..file.len() {
        let mut damaged = file.to_vec();
        damaged[byte] ^= 1 << (byte % 8);
        let opened = Segment::open(Bytes::from(damaged), spec());
        assert!(opened.is_err(), "byte {byte} of {}", file.len());
    }
    for len in (0..file.len()).step_by(97) {
        assert!(Segment::open(file.slice(..len), spec()).is_err(), "{len} bytes");
    }
}

#[test]
fn vectors_of_another_model_are_refused() {
    let (_, file) = built(records(0..3), &[], spec()).expect("built");
    let other = SegmentSpec {
        model: ModelHash::from_bytes([8; 32]),
        ..spec()
    };
    assert!(matches!(
        Segment::open(file, other),
        Err(SegmentError::WrongModel { .. })
    ));
    let narrow = SegmentSpec {
        dim: DIM - 1,
        ..spec()
    };
    assert!(matches!(
        built(records(0..3), &[], narrow),
        Err(SegmentError::Invalid { .. })
    ));
    let twice = [records(0..3), records(2..4)].concat();
    assert!(matches!(
        built(twice, &[], spec()),
        Err(SegmentError::Invalid { .. })
    ));
}

#[test]
fn tombstones_round_trip_and_notice_damage() {
    let id = SegmentId::random();
    for rows in [0, 1, 64, 65, 1000] {
        let tombstones = Tombstones::new(rows);
        let killed = (0..rows).step_by(3).map(|row| u32::try_from(row).expect("small"));
        for row in killed.clone() {
            assert!(tombstones.kill(row));
            assert!(!tombstones.kill(row), "only once");
        }
        assert!(!tombstones.kill(u32::MAX));
        assert!(tombstones.is_dead(u32::MAX));
        let (object, dead) = tombstones.encode(id);
        assert_eq!(dead, killed.len());
        let back = Tombstones::decode(&object, id, rows).expect("decoded");
        assert_eq!(back.dead(), dead);
        assert!((0..rows).all(|row| back.is_dead(u32::try_from(row).expect("small")) == (row % 3 == 0)));
        assert!(Tombstones::decode(&object, SegmentId::random(), rows).is_err());
        for byte in 0..object.len() {
            let mut damaged = object.to_vec();
            damaged[byte] ^= 1 << (byte % 8);
            assert!(Tombstones::decode(&damaged, id, rows).is_err(), "byte {byte}");
        }
    }
}
