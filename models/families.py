"""The attack families, frozen before training.

TRAINED: augmentations of training may resemble these. HELD_OUT: only the evaluation
implements them; nothing in training draws them. Every family has three strengths
(0 mild, 1 medium, 2 strong), defined in attacks.py.
"""

TRAINED = (
    "recompress",      # JPEG quality 60 / 25 / 8
    "downscale",       # long side 128 / 64 / 32 px and back
    "aspect",          # one side stretched by 1.15 / 1.4 / 1.9
    "mirror",          # horizontal; with mild / medium / strong recompression
    "rotate90",        # 90, 180, 270 degrees; with recompression
    "rotate_small",    # 4 / 9 / 15 degrees, corners filled
    "rotate_any",      # 25 / 60 / 120 degrees, corners filled
    "perspective",     # corner displacement 8 / 16 / 26 % of the side
    "crop",            # keeps 70 / 45 / 25 % of the area
    "crop_thin",       # keeps a strip: 60 / 45 / 33 % of one side
    "padding",         # border 8 / 18 / 35 % per side, flat or blurred
    "blur",            # sigma 1 / 2 / 4 % of the short side
    "noise",           # Gaussian sigma 12 / 28 / 55 grey levels
    "tone",            # brightness, contrast, gamma
    "colour",          # hue and saturation
    "grey_filter",     # grey, sepia, posterised
    "text",            # overlaid lines, 6 / 15 / 30 % of the area
    "stickers",        # 2 / 5 / 10 opaque stickers
    "meme_band",       # caption bands of 12 / 22 / 38 % of the height
    "half_replaced",   # 20 / 35 / 50 % of the area replaced by another image
    "stripes",         # opaque stripes over 12 / 25 / 40 %
    "pixelate",        # 64 / 40 / 24 cells along the long side
    "blend",           # another image mixed in at 20 / 33 / 45 %
    "paste",           # pasted onto another image at 50 / 25 / 12 % of its area
    "screenshot",      # inside a drawn user interface at 60 / 35 / 18 % of its area
    "collage",         # one cell among 2 / 4 / 6
)

HELD_OUT = (
    "halftone",        # ordered dither to 8 / 4 / 2 levels per channel
    "wave",            # sinusoidal warp of 1.5 / 3 / 5 % of the side
    "fisheye",         # barrel distortion
    "moire",           # photograph of a screen: fine grid, tilt, colour cast
    "cartoon",         # edge-preserving smoothing, few tones, dark edges
    "watermark",       # tiled translucent diagonal text
    "weather",         # rain or snow drawn over, haze
    "middle_cut",      # 10 / 22 / 35 % of the width removed from the middle
)

FAMILIES = TRAINED + HELD_OUT

# chains draw 1-3 further edits out of these (all trained families)
CHAINABLE = ("recompress", "downscale", "mirror", "rotate_small", "crop", "padding", "blur",
             "noise", "tone", "colour", "text", "stickers", "meme_band", "stripes",
             "paste", "screenshot", "aspect", "perspective")
