//! What the contract test cannot ask of every index: the block itself, damage, crowds, and how well the graph holds.

use bytes::Bytes;

use super::{BuildParams, FrozenError, FrozenIndex, MapOptions, SearchParams, format, map};
use crate::types::{Embedding, Similarity};
use crate::vector::distance::Kernels;
use crate::vector::flat::FlatIndex;
use crate::vector::tests::{Numbers, clustered_embeddings, random_embeddings};
use crate::vector::{Hit, RowFilter, RowId, VectorError, VectorIndex};

pub(super) fn block_of(rows: &[Embedding]) -> Vec<u8> {
    FrozenIndex::build(rows[0].dim(), rows, &BuildParams::default()).expect("vectors of one dimension")
}

fn index_of(rows: &[Embedding]) -> FrozenIndex {
    FrozenIndex::open(block_of(rows).into()).expect("a block just built")
}

fn recall(index: &FrozenIndex, rows: &[Embedding], queries: &[Embedding], k: usize, ef: usize) -> f64 {
    let mut flat = FlatIndex::new(index.dim());
    (0..)
        .zip(rows)
        .for_each(|(row, vector)| flat.insert(row, vector).expect("a new row"));
    let (mut found, mut hits) = (0, Vec::new());
    for query in queries {
        let want = flat.search(query, k, None).expect("the right dimension");
        let worst = want.last().map_or(-1.0, |hit| hit.similarity.get());
        let params = SearchParams {
            ef,
            ..SearchParams::default()
        };
        index
            .search_into(query, k, params, None, &mut hits)
            .expect("the right dimension");
        let exact = |hit: &Hit| rows[hit.row as usize].similarity(query).get();
        found += hits.iter().filter(|hit| exact(hit) >= worst - 1e-6).count();
    }
    found as f64 / (queries.len() * k) as f64
}

#[test]
fn a_wider_search_finds_more() {
    let vectors = clustered_embeddings(6100, 64, 200, 0.8, 1);
    let (rows, queries) = vectors.split_at(6000);
    let index = index_of(rows);
    let [narrow, wide] = [32, 256].map(|ef| recall(&index, rows, queries, 10, ef));
    assert!(narrow >= 0.85, "recall {narrow} with a beam of 32");
    assert!(wide >= 0.99, "recall {wide} with a beam of 256");
}

#[test]
fn the_result_of_a_build_depends_on_the_vectors_alone() {
    let rows = clustered_embeddings(1500, 24, 60, 0.7, 2);
    let build = |threads| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("a pool");
        pool.install(|| block_of(&rows))
    };
    assert_eq!(build(1), build(3));
}

#[test]
fn every_kernel_gives_the_same_rows() {
    let vectors = clustered_embeddings(1050, 40, 50, 0.7, 3);
    let (rows, queries) = vectors.split_at(1000);
    let block = Bytes::from(block_of(rows));
    let answers: Vec<Vec<RowId>> = Kernels::supported()
        .into_iter()
        .map(|kernels| {
            let index = FrozenIndex::open(block.clone())
                .expect("a block just built")
                .with_kernels(kernels);
            let search = |query| index.search(query, 5, None).expect("the right dimension");
            queries.iter().flat_map(search).map(|hit: Hit| hit.row).collect()
        })
        .collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn similarities_of_equal_vectors_are_one() {
    let rows = random_embeddings(50, 19, 4);
    let index = index_of(&rows);
    for (row, vector) in (0..).zip(&rows) {
        let hits = index.search(vector, 1, None).expect("the right dimension");
        assert_eq!(hits[0].row, row);
        assert!((hits[0].similarity.get() - 1.0).abs() < 1e-6, "{:?}", hits[0]);
    }
}

#[test]
fn a_crowd_of_ten_thousand_is_found_whole_and_hides_nothing() {
    let mut numbers = Numbers(6);
    let mut rows = clustered_embeddings(10_000, 32, 400, 0.7, 5);
    let centre = rows[17].clone();
    for i in 0..10_000 {
        // Half of them equal, half of them nearly.
        let noise = if i % 2 == 0 { 0.0 } else { 2e-3 };
        let near: Vec<f32> = centre
            .as_slice()
            .iter()
            .map(|x| x + noise * numbers.float())
            .collect();
        rows.push(Embedding::normalised(&near).expect("a direction"));
    }
    let index = index_of(&rows);
    let stats = index.stats();
    assert_eq!(stats.rows, 20_000);
    assert!(stats.vectors <= 15_001, "{stats:?}");
    assert!(stats.nodes <= 10_001, "a crowd is one node: {stats:?}");

    let hits = index
        .range(&centre, Similarity::clamped(0.99), None)
        .expect("the right dimension");
    let want = rows
        .iter()
        .filter(|row| row.similarity(&centre).get() >= 0.99)
        .count();
    assert!(
        hits.len() >= want * 98 / 100 && want >= 10_001,
        "{} of {want}",
        hits.len()
    );

    // The other vectors are found as if there were no crowd.
    let queries = clustered_embeddings(400, 32, 400, 0.7, 5);
    let recall = recall(&index, &rows, &queries[..100], 10, 128);
    assert!(recall >= 0.97, "recall {recall} beside a crowd");
}

/// A crowd of 1,200 vectors at about `noise` · 1.1 from their middle, within 4,000 others of dimension 32.
fn with_a_crowd(noise: f32) -> (Vec<Embedding>, Vec<Embedding>) {
    let mut numbers = Numbers(9);
    let mut vectors = clustered_embeddings(4100, 32, 160, 0.7, 12);
    let queries = vectors.split_off(4000);
    let centre = vectors[17].clone();
    vectors.extend((0..1200).map(|_| {
        let near: Vec<f32> = centre
            .as_slice()
            .iter()
            .map(|x| x + noise / 3.0 * numbers.float())
            .collect();
        Embedding::normalised(&near).expect("a direction")
    }));
    (vectors, queries)
}

#[test]
fn a_crowd_is_ranked_exactly_and_hides_nothing_however_close_it_is() {
    for noise in [1e-3, 0.03, 0.1, 0.3] {
        let (rows, queries) = with_a_crowd(noise);
        let index = index_of(&rows);
        let others = recall(&index, &rows, &queries, 10, 64);
        assert!(others >= 0.97, "noise {noise}: recall {others} beside the crowd");
        let within = recall(&index, &rows, &rows[4000..4100], 10, 64);
        assert!(within >= 0.97, "noise {noise}: recall {within} within the crowd");
    }
}

#[test]
fn a_filter_reaches_every_row_of_a_crowd() {
    let (rows, _) = with_a_crowd(0.03);
    let index = index_of(&rows);
    for row in (4000..5200).step_by(67) {
        let only = |other: RowId| other == row;
        let hits = index
            .search(&rows[17], 5, Some(&only))
            .expect("the right dimension");
        assert_eq!(hits.iter().map(|hit| hit.row).collect::<Vec<_>>(), [row]);
    }
}

#[test]
fn a_range_finds_all_neighbours() {
    let vectors = clustered_embeddings(8100, 48, 80, 0.6, 7);
    let (rows, queries) = vectors.split_at(8000);
    let index = index_of(rows);
    let (mut found, mut wanted) = (0, 0);
    for query in queries {
        let want = rows
            .iter()
            .filter(|row| row.similarity(query).get() >= 0.6)
            .count();
        let hits = index
            .range(query, Similarity::clamped(0.6), None)
            .expect("the right dimension");
        wanted += want;
        found += hits.len();
    }
    assert!(wanted > 5000, "the set has neighbours: {wanted}");
    assert!(found as f64 >= 0.98 * wanted as f64, "{found} of {wanted}");
}

#[test]
fn searches_that_take_turns_find_what_each_finds_alone() {
    let vectors = clustered_embeddings(3050, 40, 100, 0.7, 13);
    let (rows, queries) = vectors.split_at(3000);
    let index = index_of(rows);
    let params = SearchParams::default();
    // Most searches have to be widened, at different times.
    let some = |row: RowId| row.is_multiple_of(37);
    for filter in [None, Some(&some as RowFilter<'_>)] {
        let alone: Vec<Vec<Hit>> = queries
            .iter()
            .map(|query| index.search(query, 7, filter).expect("the right dimension"))
            .collect();
        for count in [0, 1, 3, 4, 5, 50] {
            let mut answers = vec![alone[0].clone(); count];
            index
                .search_each(&queries[..count], 7, params, filter, &mut answers)
                .expect("the right dimension");
            assert_eq!(answers, alone[..count]);
            let mut answers = vec![Vec::new(); count];
            index
                .search_batch(&queries[..count], 7, params, filter, &mut answers)
                .expect("the right dimension");
            assert_eq!(answers, alone[..count]);
        }
    }
    let wrong = [queries[0].clone(), random_embeddings(1, 39, 1).remove(0)];
    let refused = index.search_each(&wrong, 7, params, None, &mut [vec![], vec![]]);
    assert_eq!(
        refused,
        Err(VectorError::WrongDimension {
            expected: 40,
            got: 39
        })
    );
}

#[test]
fn the_memory_of_an_answer_is_reused() {
    let rows = random_embeddings(500, 24, 14);
    let index = index_of(&rows);
    let mut hits = Vec::with_capacity(10);
    let memory = hits.as_ptr();
    for query in &rows[..20] {
        index
            .search_into(query, 10, SearchParams::default(), None, &mut hits)
            .expect("the right dimension");
        assert_eq!((hits.len(), hits.as_ptr(), hits.capacity()), (10, memory, 10));
    }
}

#[test]
fn an_empty_index_answers_nothing() {
    let index = FrozenIndex::open(
        FrozenIndex::build(4, &[], &BuildParams::default())
            .expect("no rows")
            .into(),
    );
    let index = index.expect("a block just built");
    let query = random_embeddings(1, 4, 1).remove(0);
    assert_eq!(index.search(&query, 3, None), Ok(vec![]));
    assert_eq!(index.range(&query, Similarity::clamped(-1.0), None), Ok(vec![]));
}

#[test]
fn what_cannot_be_built_is_refused() {
    let rows = [random_embeddings(1, 4, 1), random_embeddings(1, 5, 1)].concat();
    let refused = VectorError::WrongDimension { expected: 4, got: 5 };
    assert_eq!(
        FrozenIndex::build(4, &rows, &BuildParams::default()),
        Err(refused.into())
    );
    let params = BuildParams {
        links: 0,
        ..BuildParams::default()
    };
    assert_eq!(
        FrozenIndex::build(4, &rows[..1], &params),
        Err(FrozenError::Params)
    );
    let params = BuildParams {
        diversity: f32::NAN,
        ..BuildParams::default()
    };
    assert_eq!(
        FrozenIndex::build(4, &rows[..1], &params),
        Err(FrozenError::Params)
    );
}

#[test]
fn every_cut_and_every_flipped_byte_is_refused() {
    let block = block_of(&random_embeddings(300, 6, 8));
    for len in (0..block.len()).step_by(97).chain([511, 512, block.len() - 1]) {
        let error = FrozenIndex::open(Bytes::copy_from_slice(&block[..len])).expect_err("a cut");
        assert_eq!(error, FrozenError::Truncated { len });
    }
    let longer = [block.clone(), vec![0; 64]].concat();
    assert!(matches!(
        FrozenIndex::open(longer.into()),
        Err(FrozenError::Malformed { .. })
    ));
    for at in 0..block.len() {
        let mut damaged = block.clone();
        damaged[at] ^= 1 << (at % 8);
        let error = FrozenIndex::open(damaged.into()).expect_err("a flipped bit");
        let named = matches!(
            error,
            FrozenError::NotAnIndex | FrozenError::UnknownVersion { .. } | FrozenError::Damaged { .. }
        );
        assert!(named, "byte {at}: {error}");
    }
}

/// Replaces the bytes of a section and makes the checksums right again.
pub(super) fn forged(block: &[u8], change: impl FnOnce(&mut Vec<u32>)) -> Vec<u8> {
    let read = format::Block::read(Bytes::copy_from_slice(block)).expect("a block just built");
    let mut links: Vec<u32> = read.section(format::Section::Links).to_vec();
    change(&mut links);
    let sections = format::SECTIONS.map(|section| match section {
        format::Section::Links => bytemuck::cast_slice(&links),
        other => read.section::<u8>(other),
    });
    let layout = format::Layout::of(&read.shape).expect("the same sizes");
    let header = layout.header(&read.shape, sections).expect("the same numbers");
    let mut forged = Vec::new();
    layout.write(&header, sections, &mut forged).expect("memory");
    forged
}

#[test]
fn a_forged_link_is_refused_although_its_checksum_is_right() {
    let block = block_of(&random_embeddings(100, 6, 9));
    assert_eq!(forged(&block, |_| ()), block);
    let bad = forged(&block, |links| links[5] = 100);
    assert_eq!(
        FrozenIndex::open(bad.into()).err(),
        Some(FrozenError::Malformed { what: "links" })
    );
}

#[test]
fn a_block_within_a_mapped_file_is_searched_in_place_or_from_a_copy() {
    let rows = random_embeddings(200, 16, 10);
    let block = block_of(&rows);
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("segment");
    std::fs::write(&path, [vec![7; 64], block.clone(), vec![7; 3]].concat()).expect("a file");
    for (prefault, random) in [(false, false), (true, true)] {
        let file = std::fs::File::open(&path).expect("the file");
        let mapped = map(&file, MapOptions { prefault, random }).expect("a mapping");
        let index = FrozenIndex::open(mapped.slice(64..64 + block.len())).expect("the block");
        assert_eq!(
            index.search(&rows[3], 1, None).expect("the right dimension")[0].row,
            3
        );
    }
    let unaligned = Bytes::from([vec![7; 1], block.clone()].concat());
    let index = FrozenIndex::open(unaligned.slice(1..)).expect("the block");
    assert_eq!(
        index.search(&rows[3], 1, None).expect("the right dimension")[0].row,
        3
    );
}

/// The vectors of the golden file: 40 of five small whole numbers, every tenth one equal to the one before.
fn golden_rows() -> Vec<Embedding> {
    (0..40u8)
        .map(|i| {
            let i = if i % 10 == 9 { i - 1 } else { i };
            let [a, b, c, d] = [i % 7, i * 3 % 11, (u16::from(i) * 5 % 13) as u8, i % 3].map(f32::from);
            Embedding::normalised(&[a - 3.0, b - 5.0, c - 6.0, 1.0, d]).expect("a direction")
        })
        .collect()
}

/// `FrozenIndex::build` of [`golden_rows`], written with each version of the format, and how far off a similarity may be. They
/// are never written again.
const GOLDEN: [(&[u8], f32); 2] = [
    (include_bytes!("testdata/v1.idx"), 1e-4),
    (include_bytes!("testdata/v2.idx"), 2e-5),
];

#[test]
fn a_block_of_every_version_is_read() {
    let rows = golden_rows();
    for (block, off) in GOLDEN {
        let index = FrozenIndex::open(Bytes::from_static(block)).expect("a version that is known");
        assert_eq!((index.dim(), index.len()), (5, 40));
        assert_eq!(index.stats().vectors, 36);
        for (row, vector) in (0..).zip(&rows) {
            let hits = index.search(vector, 3, None).expect("the right dimension");
            let first = rows
                .iter()
                .position(|other| other == vector)
                .map(|at| at as RowId);
            assert_eq!(Some(hits[0].row), first, "row {row}");
            for hit in hits {
                let exact = rows[hit.row as usize].similarity(vector).get();
                assert!((hit.similarity.get() - exact).abs() < off);
            }
        }
    }
}

#[test]
fn a_block_is_written_in_the_newest_version_and_a_newer_one_is_refused() {
    let newest = GOLDEN[GOLDEN.len() - 1].0;
    let built = FrozenIndex::build(5, &golden_rows(), &BuildParams::default()).expect("golden rows");
    assert!(built == newest, "not the golden file");
    let mut newer = newest.to_vec();
    newer[8] += 1;
    let refused = FrozenIndex::open(Bytes::from(newer)).err();
    assert_eq!(
        refused,
        Some(FrozenError::UnknownVersion {
            version: GOLDEN.len() + 1
        })
    );
}
