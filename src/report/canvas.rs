//! Lines, areas and words on a bitmap, and the bitmap as a small PNG: what mail programs show, which strip SVG. Opaque, so that it can
//! be read whatever the colour around it. Knows nothing of charts. The font is part of the program (`font/LICENSE`).

use std::collections::BTreeMap;

use tiny_skia::{Color, FillRule, Paint, Path, PathBuilder, Pixmap, Rect, Stroke, StrokeDash, Transform};
use ttf_parser::{Face, OutlineBuilder};

const FONT: &[u8] = include_bytes!("font/DejaVuSans-subset.ttf");
/// Pixels per unit, for screens of high density.
const DENSITY: f32 = 2.0;
/// Most colours of an indexed PNG.
const MOST_COLOURS: usize = 256;

/// Red, green, blue.
pub(super) type Rgb = [u8; 3];

/// Where a word stands by its point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Align {
    Left,
    Middle,
    Right,
}

/// A bitmap; lengths are in units of about a CSS pixel.
pub(super) struct Canvas {
    pixmap: Pixmap,
    font: Face<'static>,
}

impl Canvas {
    /// A canvas of one colour.
    pub(super) fn new(width: f32, height: f32, ground: Rgb) -> Result<Self, String> {
        let font = Face::parse(FONT, 0).map_err(|error| format!("the font cannot be read: {error}"))?;
        let mut pixmap = Pixmap::new((width * DENSITY) as u32, (height * DENSITY) as u32).ok_or("the picture has no size")?;
        pixmap.fill(Color::from_rgba8(ground[0], ground[1], ground[2], 255));
        Ok(Self { pixmap, font })
    }

    /// A line through these points; `dash`: lengths of stroke and gap.
    pub(super) fn line(&mut self, points: &[(f32, f32)], width: f32, colour: Rgb, dash: Option<[f32; 2]>) {
        let mut path = PathBuilder::new();
        for (index, (x, y)) in points.iter().enumerate() {
            if index == 0 { path.move_to(*x, *y) } else { path.line_to(*x, *y) }
        }
        let Some(path) = path.finish() else { return };
        let dash = dash.and_then(|dash| StrokeDash::new(dash.to_vec(), 0.0));
        let line_join = tiny_skia::LineJoin::Round;
        let stroke = Stroke { width, dash, line_join, ..Stroke::default() };
        self.pixmap.stroke_path(&path, &paint(colour), &stroke, zoom(), None);
    }

    /// A filled rectangle.
    pub(super) fn area(&mut self, (left, top): (f32, f32), (right, bottom): (f32, f32), colour: Rgb) {
        if let Some(rect) = Rect::from_ltrb(left, top, right, bottom) {
            self.pixmap.fill_rect(rect, &paint(colour), zoom(), None);
        }
    }

    /// A dot.
    pub(super) fn dot(&mut self, (x, y): (f32, f32), radius: f32, colour: Rgb) {
        if let Some(path) = PathBuilder::from_circle(x, y, radius) {
            self.fill(&path, colour);
        }
    }

    /// A word; `y` is its base line.
    pub(super) fn text(&mut self, (x, y): (f32, f32), size: f32, align: Align, colour: Rgb, text: &str) {
        let width = self.width_of(size, text);
        let mut x = match align {
            Align::Left => x,
            Align::Middle => x - width / 2.0,
            Align::Right => x - width,
        };
        let scale = size / f32::from(self.font.units_per_em());
        let mut outline = Outline { path: PathBuilder::new(), x: 0.0, y, scale };
        for c in text.chars() {
            let Some(glyph) = self.glyph(c) else { continue };
            outline.x = x;
            self.font.outline_glyph(glyph, &mut outline);
            x += f32::from(self.font.glyph_hor_advance(glyph).unwrap_or(0)) * scale;
        }
        if let Some(path) = outline.path.finish() {
            self.fill(&path, colour);
        }
    }

    /// How wide a word is.
    pub(super) fn width_of(&self, size: f32, text: &str) -> f32 {
        let advance = |c| self.glyph(c).and_then(|glyph| self.font.glyph_hor_advance(glyph)).map_or(0.0, f32::from);
        text.chars().map(advance).sum::<f32>() * size / f32::from(self.font.units_per_em())
    }

    /// A letter that the font lacks is a question mark.
    fn glyph(&self, c: char) -> Option<ttf_parser::GlyphId> {
        self.font.glyph_index(c).or_else(|| self.font.glyph_index('?'))
    }

    fn fill(&mut self, path: &Path, colour: Rgb) {
        self.pixmap.fill_path(path, &paint(colour), FillRule::Winding, zoom(), None);
    }

    /// The bitmap as PNG with at most 256 colours.
    pub(super) fn png(&self) -> Result<Vec<u8>, String> {
        let (palette, pixels) = indexed(self.pixmap.data());
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, self.pixmap.width(), self.pixmap.height());
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_palette(palette);
        encoder.set_compression(png::Compression::High);
        // Neighbours in a palette are not alike: filters only cost.
        encoder.set_filter(png::Filter::NoFilter);
        let mut writer = encoder.write_header().map_err(|error| error.to_string())?;
        writer.write_image_data(&pixels).map_err(|error| error.to_string())?;
        writer.finish().map_err(|error| error.to_string())?;
        Ok(file)
    }
}

fn paint(colour: Rgb) -> Paint<'static> {
    let mut paint = Paint { anti_alias: true, ..Paint::default() };
    paint.set_color_rgba8(colour[0], colour[1], colour[2], 255);
    paint
}

fn zoom() -> Transform {
    Transform::from_scale(DENSITY, DENSITY)
}

/// Palette and one index per pixel. Colours that differ least become one until the palette holds them all.
fn indexed(rgba: &[u8]) -> (Vec<u8>, Vec<u8>) {
    for shift in 0..8 {
        let mut palette: BTreeMap<[u8; 3], [u8; 3]> = BTreeMap::new();
        let key = |pixel: &[u8]| [pixel[0] >> shift, pixel[1] >> shift, pixel[2] >> shift];
        for pixel in rgba.chunks_exact(4) {
            palette.entry(key(pixel)).or_insert([pixel[0], pixel[1], pixel[2]]);
            if palette.len() > MOST_COLOURS {
                break;
            }
        }
        if palette.len() > MOST_COLOURS {
            continue;
        }
        let numbers: BTreeMap<[u8; 3], u8> = palette.keys().enumerate().map(|(number, key)| (*key, number as u8)).collect();
        let pixels = rgba.chunks_exact(4).map(|pixel| numbers.get(&key(pixel)).copied().unwrap_or(0)).collect();
        return (palette.into_values().flatten().collect(), pixels);
    }
    (vec![0, 0, 0], vec![0; rgba.len() / 4])
}

/// The outline of a letter at its place; fonts count upwards.
struct Outline {
    path: PathBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Outline {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.path.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.path.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.path.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.path.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_colours_become_256_and_few_stay_what_they_are() {
        let many: Vec<u8> = (0..=255_u8).flat_map(|n| (0..=15_u8).flat_map(move |m| [n, m * 16, 255 - n, 255])).collect();
        let (palette, pixels) = indexed(&many);
        assert!(palette.len() <= MOST_COLOURS * 3 && pixels.len() == many.len() / 4);
        let (palette, pixels) = indexed(&[1, 2, 3, 255, 9, 9, 9, 255, 1, 2, 3, 255]);
        assert_eq!((palette, pixels), (vec![1, 2, 3, 9, 9, 9], vec![0, 1, 0]));
    }

    #[test]
    fn letters_have_a_width_also_those_that_the_font_lacks() {
        let canvas = Canvas::new(10.0, 10.0, [255; 3]).unwrap();
        assert!(canvas.width_of(12.0, "MM") > canvas.width_of(12.0, "ii"));
        let question = canvas.width_of(12.0, "?");
        assert!((canvas.width_of(12.0, "\u{4e2d}") - question).abs() < 0.01 && question > 1.0);
    }
}
