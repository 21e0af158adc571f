"""The plants of the world."""

from __future__ import annotations

from retrieval.training.world.marks import Noun, arc, box, ellipse, line, pie, polygon

PLANTS: tuple[Noun, ...] = (
    Noun(
        "tree",
        synonyms=("oak",),
        marks=(
            polygon("wood", 0.40, 0.50, 0.60, 0.50, 0.61, 0.86, 0.72, 0.97, 0.28, 0.97, 0.39, 0.86),
            ellipse("dark", 0.02, 0.38, 0.46, 0.76),
            ellipse("dark", 0.54, 0.38, 0.98, 0.76),
            ellipse("dark", 0.28, 0.40, 0.72, 0.78),
            ellipse("tint", 0.00, 0.28, 0.44, 0.68),
            ellipse("tint", 0.56, 0.28, 1.00, 0.68),
            ellipse("tint", 0.08, 0.06, 0.54, 0.50),
            ellipse("tint", 0.46, 0.06, 0.92, 0.50),
            ellipse("tint", 0.28, 0.00, 0.72, 0.40),
            ellipse("tint", 0.24, 0.24, 0.76, 0.66),
            ellipse("light", 0.22, 0.16, 0.36, 0.27),
            ellipse("light", 0.58, 0.30, 0.70, 0.39),
        ),
    ),
    Noun(
        "pine",
        synonyms=("fir",),
        marks=(
            box("wood", 0.40, 0.80, 0.60, 0.97, radius=0.02),
            polygon("tint", 0.50, 0.36, 0.98, 0.86, 0.02, 0.86),
            polygon("dark", 0.50, 0.36, 0.74, 0.61, 0.26, 0.61),
            polygon("tint", 0.50, 0.18, 0.88, 0.58, 0.12, 0.58),
            polygon("dark", 0.50, 0.18, 0.68, 0.37, 0.32, 0.37),
            polygon("tint", 0.50, 0.00, 0.78, 0.34, 0.22, 0.34),
            polygon("light", 0.50, 0.00, 0.61, 0.134, 0.54, 0.11, 0.48, 0.16, 0.39, 0.134),
        ),
    ),
    Noun(
        "flower",
        synonyms=("blossom",),
        marks=(
            line("leaf", 0.50, 0.50, 0.50, 0.97, width=0.07),
            polygon("leaf", 0.50, 0.92, 0.30, 0.90, 0.16, 0.72, 0.40, 0.76),
            polygon("leaf", 0.50, 0.88, 0.70, 0.86, 0.84, 0.68, 0.60, 0.72),
            ellipse("dark", 0.20, 0.06, 0.46, 0.32),
            ellipse("dark", 0.54, 0.06, 0.80, 0.32),
            ellipse("dark", 0.20, 0.38, 0.46, 0.64),
            ellipse("dark", 0.54, 0.38, 0.80, 0.64),
            ellipse("tint", 0.35, 0.00, 0.65, 0.34),
            ellipse("tint", 0.35, 0.36, 0.65, 0.70),
            ellipse("tint", 0.12, 0.20, 0.46, 0.50),
            ellipse("tint", 0.54, 0.20, 0.88, 0.50),
            ellipse("white", 0.34, 0.19, 0.66, 0.51),
            ellipse("beak", 0.39, 0.24, 0.61, 0.46),
        ),
    ),
    Noun(
        "mushroom",
        synonyms=("toadstool",),
        marks=(
            box("cream", 0.32, 0.44, 0.68, 0.97, radius=0.12),
            ellipse("ink", 0.40, 0.64, 0.46, 0.72),
            ellipse("ink", 0.54, 0.64, 0.60, 0.72),
            arc("ink", 0.43, 0.68, 0.57, 0.80, start=20, end=160, width=0.02),
            pie("tint", 0.01, 0.02, 0.99, 1.10, start=180, end=360),
            ellipse("white", 0.36, 0.09, 0.62, 0.31),
            ellipse("white", 0.10, 0.31, 0.32, 0.49),
            ellipse("white", 0.68, 0.29, 0.90, 0.48),
        ),
    ),
    Noun(
        "cactus",
        synonyms=("succulent",),
        marks=(
            line("tint", 0.09, 0.36, 0.09, 0.60, 0.40, 0.60, width=0.16),
            line("tint", 0.91, 0.24, 0.91, 0.50, 0.60, 0.50, width=0.16),
            ellipse("tint", 0.01, 0.26, 0.17, 0.44),
            ellipse("tint", 0.83, 0.14, 0.99, 0.34),
            ellipse("tint", 0.01, 0.50, 0.18, 0.68),
            ellipse("tint", 0.82, 0.40, 0.99, 0.58),
            box("tint", 0.34, 0.05, 0.66, 0.97, radius=0.15),
            line("light", 0.44, 0.16, 0.44, 0.88, width=0.03),
            line("light", 0.56, 0.16, 0.56, 0.88, width=0.03),
            pie("straw", 0.08, 0.82, 0.92, 1.12, start=180, end=360),
            ellipse("rose", 0.40, 0.00, 0.60, 0.13),
            ellipse("gold", 0.46, 0.03, 0.54, 0.10),
        ),
    ),
    Noun(
        "sprout",
        synonyms=("seedling",),
        marks=(
            line("leaf", 0.50, 0.46, 0.50, 0.86, width=0.07),
            polygon(
                "tint",
                *(0.50, 0.62, 0.40, 0.62, 0.28, 0.60, 0.18, 0.54, 0.10, 0.46, 0.05, 0.38, 0.02, 0.28),
                *(0.00, 0.16, 0.00, 0.06, 0.11, 0.07, 0.24, 0.09, 0.33, 0.16, 0.41, 0.24, 0.46, 0.33),
                *(0.49, 0.42, 0.50, 0.53),
            ),
            polygon(
                "tint",
                *(0.50, 0.62, 0.60, 0.62, 0.72, 0.60, 0.82, 0.54, 0.90, 0.46, 0.95, 0.38, 0.98, 0.28),
                *(1.00, 0.16, 1.00, 0.06, 0.89, 0.07, 0.76, 0.09, 0.67, 0.16, 0.59, 0.24, 0.54, 0.33),
                *(0.51, 0.42, 0.50, 0.53),
            ),
            line("light", 0.48, 0.56, 0.30, 0.34, 0.12, 0.17, width=0.035),
            line("light", 0.52, 0.56, 0.70, 0.34, 0.88, 0.17, width=0.035),
            pie("wood", 0.10, 0.76, 0.90, 1.18, start=180, end=360),
            ellipse("straw", 0.30, 0.86, 0.38, 0.92),
            ellipse("straw", 0.60, 0.88, 0.68, 0.94),
        ),
    ),
)
