//! Pages, screens and patterns: where another picture of one kind agrees nearly everywhere.

use super::*;

/// Rows of dark strokes on white, like lines of text; each word is drawn from the dice.
fn page(seed: u64, filled: u64) -> RgbImage {
    let mut image = RgbImage::from_pixel(300, 400, Rgb([255, 255, 255]));
    let mut fixed = Dice(seed);
    let mut free = Dice(filled.wrapping_mul(7919) + 1);
    for line in 0..18u32 {
        let y = 20 + line * 20;
        let dice = if line % 5 == 3 { &mut free } else { &mut fixed };
        let mut x = 20;
        while x < 270 {
            let glyph = dice.below(64);
            for part in 0..6u32 {
                if glyph >> part & 1 == 1 {
                    let (gx, gy) = (x + part % 2 * 3, y + part / 2 * 3);
                    for (px, py) in [(0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2)] {
                        image.put_pixel(gx + px, gy + py, Rgb([20, 20, 30]));
                    }
                }
            }
            x += if dice.below(6) == 0 { 14 } else { 8 };
        }
    }
    image
}

#[test]
fn two_fillings_of_one_form_disagree_where_they_were_filled_in() {
    let (a, b) = (page(1, 1), page(1, 2));
    let same = aligned("same page", &a, &jpeg(&a, 60));
    assert!(same.agreement() > 0.99, "{same:#?}");
    let found = compare(&a, &b);
    assert!(found.text_like);
    let found = found.alignment.expect("the forms align");
    assert!(
        found.agreement() < 0.93 && !found.changed.is_empty(),
        "{found:#?}"
    );
}

#[test]
fn a_caption_on_ground_of_its_own_is_no_other_filling() {
    let a = page(3, 1);
    let captioned = |top: u32| {
        let mut b = a.clone();
        let height = b.height() / 8;
        for y in top..top + height {
            for x in 0..b.width() {
                let letter = (x / 9 + y / 7).is_multiple_of(3);
                b.put_pixel(x, y, if letter { Rgb([250; 3]) } else { Rgb([40, 30, 120]) });
            }
        }
        b
    };
    for top in [0, a.height() - a.height() / 8] {
        let found = aligned("caption", &a, &captioned(top));
        assert!(found.laid_over && found.contradicting > 0, "{top}: {found:#?}");
    }
    let filled = aligned("filled", &a, &page(3, 2));
    assert!(!filled.laid_over, "{filled:#?}");
    // The same letter stands elsewhere too: that is no movement.
    assert!(filled.disagreeing > 8 && filled.looked_for == 0, "{filled:#?}");
}

#[test]
fn a_sticker_brings_its_ground_along_and_ink_does_not() {
    let a = page(5, 1);
    let painted = |ink: &dyn Fn(u32, u32) -> Option<Rgb<u8>>| {
        let mut b = a.clone();
        for y in 120..200 {
            for x in 100..200 {
                if let Some(colour) = ink(x, y) {
                    b.put_pixel(x, y, colour);
                }
            }
        }
        aligned("painted", &a, &jpeg(&b, 85))
    };
    let disc = |x: u32, y: u32| {
        (x.abs_diff(150).pow(2) + y.abs_diff(160).pow(2) < 1500).then_some(Rgb([250, 200, 40]))
    };
    let sticker = painted(&disc);
    assert!(sticker.laid_over && sticker.contradicting > 0, "{sticker:#?}");
    // Two fields are filled in, one line below the other: the paper is still there.
    let letters = |x: u32, y: u32| (x % 5 < 2 && y % 20 < 12).then_some(Rgb([20, 30, 140]));
    let filled = painted(&letters);
    assert!(!filled.laid_over && filled.contradicting > 0, "{filled:#?}");
}

#[test]
fn a_veil_fills_its_box_where_the_page_shows_through() {
    let a = page(5, 1);
    let (left, right, top, bottom) = (96, 208, 112, 192);
    let written = |veil: f32| {
        let mut b = a.clone();
        for (x, y, pixel) in b.enumerate_pixels_mut() {
            if !(left..right).contains(&x) || !(top..bottom).contains(&y) {
                continue;
            }
            // Large strokes down the left and along the bottom, which are less than half of it.
            let is_written = x < left + 28 || y >= bottom - 20;
            *pixel = if is_written && (x / 7 + y / 7) % 2 == 0 {
                Rgb([255, 240, 90])
            } else {
                let colour = [150.0, 60.0, 190.0];
                Rgb([0, 1, 2].map(|c| (f32::from(pixel[c]) * (1.0 - veil) + colour[c] * veil) as u8))
            };
        }
        aligned("a veil", &a, &jpeg(&b, 90))
    };
    let veil = written(0.5);
    assert!(veil.laid_over && veil.contradicting > 8, "{veil:#?}");
    let none = written(0.0);
    assert!(!none.laid_over && none.contradicting > 8, "{none:#?}");
}

#[test]
fn a_low_quality_leaves_noise_on_letters_and_no_other_letters() {
    let a = page(7, 1);
    let found = aligned("quality 25", &jpeg(&a, 92), &jpeg(&a, 25));
    assert_eq!(found.outstanding, 0, "{found:#?}");
    let other = aligned("other letters", &jpeg(&a, 92), &jpeg(&page(7, 2), 25));
    assert!(other.outstanding > 8, "{other:#?}");
}

#[test]
fn two_crops_of_one_screenshot_agree_where_they_overlap() {
    let screen = page(3, 9);
    let (w, h) = screen.dimensions();
    let top = imageops::crop_imm(&screen, 0, 0, w, h * 4 / 5).to_image();
    let bottom = imageops::crop_imm(&screen, 0, h / 5, w, h * 4 / 5).to_image();
    let alignment = aligned("two crops of one screenshot", &top, &bottom);
    assert!(alignment.agreement() > 0.95, "{alignment:?}");
    assert!((alignment.overlap_a - 0.75).abs() < 0.06, "{alignment:?}");
}

#[test]
fn letters_across_a_page_take_nothing_away_and_another_filling_does() {
    let a = page(9, 1);
    let written = |on: &RgbImage, ink: &dyn Fn(u32, u32) -> bool| {
        let mut b = on.clone();
        for (x, y, pixel) in b.enumerate_pixels_mut() {
            if ink(x, y) {
                *pixel = Rgb([200, 30, 160]);
            }
        }
        jpeg(&b, 85)
    };
    let (left, top) = (a.width() / 8, a.height() / 3);
    // Large letters in two rows, whatever is below them.
    let caption = |x: u32, y: u32| {
        (left..7 * left).contains(&x) && (top..2 * top).contains(&y) && x % 24 < 9 && (y - top) % 50 < 38
    };
    for found in [
        aligned("written over", &a, &written(&a, &caption)),
        aligned("written over, from it", &written(&a, &caption), &a),
    ] {
        assert!(found.written_over && found.contradicting > 0, "{found:#?}");
    }
    let filled = aligned("other filling", &a, &page(9, 2));
    assert!(!filled.written_over && filled.contradicting > 0, "{filled:#?}");
    let both = aligned("other filling, written over", &a, &written(&page(9, 2), &caption));
    assert!(!both.written_over, "{both:#?}");
    // Filled in, in letters as small as those of the page.
    let small = |x: u32, y: u32| {
        (left..7 * left).contains(&x) && (top..2 * top).contains(&y) && x % 8 < 2 && y % 16 < 8
    };
    let filled_in = aligned("filled in", &a, &written(&a, &small));
    assert!(
        !filled_in.written_over && filled_in.contradicting > 0,
        "{filled_in:#?}"
    );
}

#[test]
fn another_row_that_is_lit_up_on_a_dimmed_page_was_not_laid_over() {
    let page = page(11, 1);
    let lit = |from: u32| {
        let mut image = page.clone();
        for (_, y, pixel) in image.enumerate_pixels_mut() {
            if !(from..from + 34).contains(&y) {
                *pixel = Rgb(pixel.0.map(|v| v / 5 * 2));
            }
        }
        jpeg(&image, 85)
    };
    let found = aligned("another row", &lit(60), &lit(100));
    assert!(found.contradicting > 8, "{found:#?}");
    assert!(!found.laid_over && !found.written_over, "{found:#?}");
}

#[test]
fn boards_repeat_and_pages_do_not() {
    let board = |light: [u8; 3], dark: [u8; 3]| {
        RgbImage::from_fn(208, 160, |x, y| {
            Rgb(if (x / 16 + y / 16) % 2 == 0 { light } else { dark })
        })
    };
    let (red, gold) = (board([250; 3], [210, 20, 20]), board([250; 3], [190, 160, 40]));
    let found = compare(&red, &gold);
    assert!(found.text_like && found.repeating, "{found:#?}");
    let page = page(4, 1);
    assert!(!compare(&page, &jpeg(&page, 60)).repeating);
}

#[test]
fn squares_of_a_code_are_no_stickers() {
    // Seven by seven squares, of which one piece of five is set in one of two codes.
    let code = |piece: bool| {
        let set = [3, 9, 10, 17, 22, 31, 38, 39, 44, 46];
        let more = [24, 25, 26, 32, 33];
        RgbImage::from_fn(294, 294, |x, y| {
            let square = y / 42 * 7 + x / 42;
            let is_set = set.contains(&square) || (piece && more.contains(&square));
            Rgb([if is_set { 250 } else { 5 }; 3])
        })
    };
    let found = aligned("codes", &code(false), &code(true));
    assert!(found.contradicting > 8 && !found.laid_over, "{found:#?}");
}

#[test]
fn a_scan_is_a_page_for_all_the_grain_of_its_paper() {
    let mut dice = Dice(9);
    let mut printed = |paper: i32| {
        let mut image = page(6, 1);
        for pixel in image.pixels_mut() {
            let grain = dice.below(9) as i32 - 4;
            *pixel = Rgb(pixel
                .0
                .map(|c| (i32::from(c) * paper / 255 + grain).clamp(0, 255) as u8));
        }
        Features::extract(&image).texture()
    };
    let scan = printed(235);
    assert!(scan.is_text_like(), "{scan:?}");
    let unlike_paper = crate::vision::verify::Texture { paper: 0.0, ..scan };
    assert!(!unlike_paper.is_text_like(), "by its paper alone: {scan:?}");
    let wall = printed(150);
    assert!(!wall.is_text_like(), "a wall with cracks: {wall:?}");
}

/// A photograph: nothing of it is flat.
fn photograph(width: u32, height: u32) -> RgbImage {
    let mut dice = Dice(21);
    let mut image = dead_leaves(31, width, height);
    for pixel in image.pixels_mut() {
        let grain = dice.below(25) as i32 - 12;
        *pixel = Rgb(pixel.0.map(|c| (i32::from(c) + grain).clamp(0, 255) as u8));
    }
    imageops::blur(&image, 0.5)
}

fn is_text_like(image: &RgbImage) -> bool {
    Features::extract(&preview(image)).texture().is_text_like()
}

#[test]
fn letters_around_a_photograph_make_no_text_of_it() {
    let photo = photograph(150, 190);
    let shown = |what: &RgbImage| {
        let mut window = page(12, 1);
        imageops::replace(&mut window, what, 70, 100);
        window
    };
    let window = shown(&photo);
    assert!(is_text_like(&window) && !is_text_like(&photo));
    let found = compare(&photo, &window);
    assert!(found.alignment.is_some() && !found.text_like, "{found:#?}");
    // a piece of a page in the same window
    let piece = imageops::crop_imm(&page(13, 1), 20, 80, 150, 190).to_image();
    let found = compare(&piece, &shown(&piece));
    assert!(found.alignment.is_some() && found.text_like, "{found:#?}");
}

#[test]
fn letters_over_a_photograph_make_no_text_of_it() {
    let photo = photograph(300, 400);
    let over = |picture: &RgbImage| {
        let mut written = picture.clone();
        imageops::replace(
            &mut written,
            &imageops::crop_imm(&page(14, 1), 0, 0, 300, 250).to_image(),
            0,
            0,
        );
        written
    };
    let written = over(&photo);
    assert!(is_text_like(&written) && !is_text_like(&photo));
    let found = compare(&photo, &written);
    assert!(found.alignment.is_some() && !found.text_like, "{found:#?}");
    let form = page(15, 1);
    assert!(compare(&form, &over(&form)).text_like, "one page under another");
}
