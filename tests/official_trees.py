"""Small trees in the exact official layout of each data set, with the traps of the real ones.

Every builder fills a root folder and returns the counts per category that a loader must find.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

Counts = dict[str, dict[str, int]]

MVTEC_DEFECTS = {
    "bottle": "broken_large broken_small contamination",
    "cable": "bent_wire cable_swap combined cut_inner_insulation cut_outer_insulation missing_cable missing_wire "
    "poke_insulation",
    "capsule": "crack faulty_imprint poke scratch squeeze",
    "carpet": "color cut hole metal_contamination thread",
    "grid": "bent broken glue metal_contamination thread",
    "hazelnut": "crack cut hole print",
    "leather": "color cut fold glue poke",
    "metal_nut": "bent color flip scratch",
    "pill": "color combined contamination crack faulty_imprint pill_type scratch",
    "screw": "manipulated_front scratch_head scratch_neck thread_side thread_top",
    "tile": "crack glue_strip gray_stroke oil rough",
    "toothbrush": "defective",
    "transistor": "bent_lead cut_lead damaged_case misplaced",
    "wood": "color combined hole liquid scratch",
    "zipper": "broken_teeth combined fabric_border fabric_interior rough split_teeth squeezed_teeth",
}
MPDD_DEFECTS = {
    "bracket_black": "hole scratches",
    "bracket_brown": "bend_and_parts_mismatch parts_mismatch",
    "bracket_white": "defective_painting scratches",
    "connector": "parts_mismatch",
    "metal_plate": "major_rust scratches total_rust",
    "tubes": "anomalous",
}
VISA = [
    *("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2"),
    *("pcb1", "pcb2", "pcb3", "pcb4", "pipe_fryum"),
]
LOCO = ["breakfast_box", "juice_bottle", "pushpins", "screw_bag", "splicing_connectors"]
AD2 = ["can", "fabric", "fruit_jelly", "rice", "sheet_metal", "vial", "wallplugs", "walnuts"]
SIZE = (24, 20)  # width, height


class Painter:
    """Writes small distinct images and masks; the number makes each image's pixels unique."""

    def __init__(self) -> None:
        self.number = 0

    def image(self, path: Path, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: Any) -> None:
        """A noise image in a Pillow mode."""
        self.number += 1
        pixels = np.random.default_rng(self.number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).convert(mode).save(path, **options)

    def mask(
        self, path: Path, value: int = 255, box: tuple[int, int, int, int] = (4, 4, 12, 10), **options: Any
    ) -> None:
        """A mask with one rectangle (left, top, right, bottom) of a value."""
        pixels = np.zeros((SIZE[1], SIZE[0]), dtype=np.uint8)
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = value
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path, **options)


def _mvtec_like(root: Path, table: dict[str, str], grey: Iterable[str] = ()) -> Counts:
    paint, counts = Painter(), {}
    for category, defects in table.items():
        mode = "L" if category in set(grey) else "RGB"
        for number in range(3):
            paint.image(root / category / "train" / "good" / f"{number:03d}.png", mode)
        for number in range(2):
            paint.image(root / category / "test" / "good" / f"{number:03d}.png", mode)
        for defect in defects.split():
            paint.image(root / category / "test" / defect / "000.png", mode)
            paint.mask(root / category / "ground_truth" / defect / "000_mask.png")
        counts[category] = {"train": 3, "good": 2, "bad": len(defects.split())}
    (root / "readme.txt").write_text("about")
    (root / "license.txt").write_text("licence")
    return counts


def mvtec_ad(root: Path) -> Counts:
    """15 categories, 73 defect folders; grid, screw and zipper are grey."""
    return _mvtec_like(root / "mvtec_anomaly_detection", MVTEC_DEFECTS, grey=("grid", "screw", "zipper"))


def mpdd(root: Path) -> Counts:
    """Six categories in MVTec layout."""
    return _mvtec_like(root / "MPDD", MPDD_DEFECTS)


def visa(root: Path) -> Counts:
    """The raw download: upper-case extensions, index-valued masks, split files."""
    base, paint, rows = root / "VisA_20220922", Painter(), []
    for category in VISA:
        data = base / category / "Data"
        for number in range(5):
            name = f"{category}/Data/Images/Normal/{number:04d}.JPG"
            paint.image(base / name, format="JPEG")
            rows.append([category, "train" if number % 2 == 0 else "test", "normal", name, ""])
        for number in range(2):
            name = f"{category}/Data/Images/Anomaly/{number:03d}.JPG"
            paint.image(base / name, format="JPEG")
            mask = f"{category}/Data/Masks/Anomaly/{number:03d}.png"
            paint.mask(base / mask, value=number + 1)
            rows.append([category, "test", "anomaly", name, mask])
        (data.parent / "image_anno.csv").write_text("image,label,mask\n")
    (base / "split_csv").mkdir()
    for name in ("1cls", "2cls_fewshot", "2cls_highshot"):
        with (base / "split_csv" / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["object", "split", "label", "image", "mask"], *rows])
    return {category: {"train": 3, "good": 2, "bad": 2} for category in VISA}


def visa_prepared(root: Path) -> Counts:
    """The one-class tree made from `visa` as the official script does it."""
    counts = visa(root)
    base, target = root / "VisA_20220922", root / "VisA_pytorch" / "1cls"
    with (base / "split_csv" / "1cls.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            kind = "good" if row["label"] == "normal" else "bad"
            image = target / row["object"] / row["split"] / kind / Path(row["image"]).name
            image.parent.mkdir(parents=True, exist_ok=True)
            image.write_bytes((base / row["image"]).read_bytes())
            if row["mask"]:
                mask = target / row["object"] / "ground_truth" / "bad" / Path(row["mask"]).name
                mask.parent.mkdir(parents=True, exist_ok=True)
                pixels = np.asarray(Image.open(base / row["mask"]))
                Image.fromarray(((pixels != 0) * 255).astype(np.uint8)).save(mask)
    return counts


def btad(root: Path) -> Counts:
    """bmp and png images, png and bmp masks with 0/1 or 0/255, one empty mask in 02 and in 03."""
    base, paint = root / "BTech_Dataset_transformed", Painter()
    for category, image, mask in (("01", "bmp", "png"), ("02", "png", "png"), ("03", "bmp", "bmp")):
        for split, count in (("train/ok", 3), ("test/ok", 2), ("test/ko", 3)):
            for number in range(count):
                paint.image(base / category / split / f"{number:04d}.{image}")
        for number in range(3):
            value = 0 if number == 2 and category != "01" else 1 if category == "01" else 255
            paint.mask(base / category / "ground_truth" / "ko" / f"{number:04d}.{mask}", value)
    bad = {"train": 3, "good": 2, "bad": 3}
    return {"01": {**bad, "empty_masks": 0}, "02": {**bad, "empty_masks": 1}, "03": {**bad, "empty_masks": 1}}


def magnetic_tile(root: Path) -> Counts:
    """Grey JPEG tiles of several sizes, noisy PNG masks beside them."""
    base, paint = root / "magnetic_tile", Painter()
    for kind, count in (("Free", 12), ("Blowhole", 2), ("Break", 1), ("Crack", 1), ("Fray", 1), ("Uneven", 1)):
        for number in range(count):
            stem = base / f"MT_{kind}" / "Imgs" / f"exp{1 + number % 6}_num_{1000 + 37 * number}"
            size = (SIZE[0] + number, SIZE[1])
            paint.image(stem.with_suffix(".jpg"), "L", size)
            mask = np.full((size[1], size[0]), 7 if kind != "Free" else 0, dtype=np.uint8)
            if kind != "Free":
                mask[4:10, 4:12] = 248
            Image.fromarray(mask).save(stem.with_suffix(".png"))
    return {"magnetic_tile": {"normal": 12, "bad": 6, "blowhole": 2, "uneven": 1}}


def mvtec_loco(root: Path) -> Counts:
    """Several masks per image, values other than 255, a validation split and defects_config.json."""
    base, paint = root / "mvtec_loco_anomaly_detection", Painter()
    for category in LOCO:
        for split, count in (("train/good", 3), ("validation/good", 1), ("test/good", 2)):
            for number in range(count):
                paint.image(base / category / split / f"{number:03d}.png")
        for kind in ("logical_anomalies", "structural_anomalies"):
            for number in range(2):
                paint.image(base / category / "test" / kind / f"{number:03d}.png")
                folder = base / category / "ground_truth" / kind / f"{number:03d}"
                paint.mask(folder / "000.png", value=251, box=(0, 0, 3, 3))
                if number == 1:
                    paint.mask(folder / "001.png", value=250, box=(10, 10, 12, 12))
        (base / category / "defects_config.json").write_text("[]")
    each = {"train": 3, "good": 2, "logical_anomalies": 2, "structural_anomalies": 2, "bad": 4}
    return {category: dict(each) for category in LOCO}


def mvtec_ad_2(root: Path) -> Counts:
    """Names with the lighting, masks under test_public, private sets without labels."""
    base, paint = root / "mvtec_ad_2", Painter()
    for category in AD2:
        mode = "L" if category in {"sheet_metal", "vial", "wallplugs"} else "RGB"
        for split in ("train/good", "validation/good", "test_private", "test_private_mixed"):
            for number in range(3):
                paint.image(base / category / split / f"{number:03d}_regular.png", mode)
        for lighting in ("regular", "underexposed", "overexposed", "shift_1"):
            paint.image(base / category / "test_public" / "good" / f"000_{lighting}.png", mode)
            paint.image(base / category / "test_public" / "bad" / f"001_{lighting}.png", mode)
            paint.mask(base / category / "test_public" / "ground_truth" / "bad" / f"001_{lighting}_mask.png")
    return {category: {"train": 3, "good": 4, "bad": 4} for category in AD2}


def real_iad(root: Path) -> Counts:
    """Two categories, images under realiad_1024, splits in JSON; one NG view that shows no defect."""
    base, paint = root / "Real-IAD", Painter()
    for category in ("audiojack", "zipper"):
        home = base / "realiad_1024" / category
        split: dict[str, Any] = {"meta": {"prefix": f"{category}/", "normal_class": "OK"}, "train": [], "test": []}

        def add(part: str, kind: str, path: str, mask: str | None, split: Any = split, name: str = category) -> None:
            row = {"category": name, "anomaly_class": kind, "image_path": path, "mask_path": mask}
            split[part].append(row)

        for number, view in enumerate(("C1", "C2", "C3", "C4", "C5")):
            path = f"OK/S0001/{category}_0001_OK_{view}_20231023.jpg"
            paint.image(home / path)
            add("train" if number < 3 else "test", "OK", path, None)
            path = f"NG/AK/S0002/{category}_0002_AK_{view}_20231023.jpg"
            paint.image(home / path)
            if view == "C5":
                add("test", "OK", path, None)
                continue
            mask = path.replace(".jpg", "_mask.png")
            paint.mask(home / mask)
            add("test", "AK", path, mask)
        (base / "realiad_jsons").mkdir(exist_ok=True)
        (base / "realiad_jsons" / f"{category}.json").write_text(json.dumps(split))
    return {category: {"train": 3, "good": 3, "bad": 4} for category in ("audiojack", "zipper")}


def bmad(root: Path) -> Counts:
    """Folders img and label; train/good flat in one of the three sets."""
    base, paint = root / "BMAD", Painter()
    for folder in ("Brain", "Liver", "RESC"):
        inner = Path("." if folder == "Liver" else "img")
        for number in range(3):
            paint.image(base / folder / "train" / "good" / inner / f"{number:05d}_60.png", "L")
        for split in ("valid", "test"):
            for number in range(2):
                paint.image(base / folder / split / "good" / "img" / f"{number:05d}_99.png", "L")
                paint.image(base / folder / split / "Ungood" / "img" / f"{number:05d}_70.png", "L")
                paint.mask(base / folder / split / "Ungood" / "label" / f"{number:05d}_70.png", value=1)
    return {category: {"train": 3, "good": 2, "bad": 2} for category in ("brain", "liver", "retina_resc")}


def bmad_image(root: Path) -> Counts:
    """Image labels only."""
    base, paint = root / "BMAD", Painter()
    for folder in ("Chest", "camelyon16", "OCT2017"):
        for split, count in (
            ("train/good", 3),
            ("valid/good", 1),
            ("valid/Ungood", 1),
            ("test/good", 2),
            ("test/Ungood", 2),
        ):
            for number in range(count):
                paint.image(base / folder / split / f"{number}.png")
    return {name: {"train": 3, "good": 2, "bad": 2} for name in ("chest", "histopathology", "retina_oct2017")}


def isic(root: Path) -> Counts:
    """JPEG images, PNG masks ending in _Segmentation."""
    base, paint = root / "ISIC", Painter()
    for number in (3, 14, 159):
        stem = f"ISIC_{number:07d}"
        paint.image(base / "ISBI2016_ISIC_Part1_Test_Data" / f"{stem}.jpg")
        paint.mask(base / "ISBI2016_ISIC_Part1_Test_GroundTruth" / f"{stem}_Segmentation.png")
    return {"skin": {"bad": 3}}


def colondb(root: Path) -> Counts:
    """PNG pairs of the same name."""
    base, paint = root / "CVC-ColonDB", Painter()
    for number in range(3):
        paint.image(base / "images" / f"{number}.png")
        paint.mask(base / "masks" / f"{number}.png")
    return {"colon": {"bad": 3}}


def clinicdb(root: Path) -> Counts:
    """TIFF frames with three samples declared MinIsBlack, which Pillow refuses; masks with compression noise."""
    base = root / "CVC-ClinicDB"
    for folder in ("Original", "Ground Truth"):
        (base / folder).mkdir(parents=True)
    for number in range(1, 4):
        pixels = np.random.default_rng(number).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
        options: dict[str, Any] = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(base / "Original" / f"{number}.tif", pixels, **options)
        mask = np.full((SIZE[1], SIZE[0]), 3, dtype=np.uint8)
        mask[4:10, 4:12] = 255
        tifffile.imwrite(base / "Ground Truth" / f"{number}.tif", mask)
    return {"colon": {"bad": 3}}


def tn3k(root: Path) -> Counts:
    """JPEG masks: compression smears values around the edge."""
    base, paint = root / "tn3k", Painter()
    for number in range(3):
        for split in ("trainval", "test"):
            paint.image(base / f"{split}-image" / f"{number:04d}.jpg", "L")
            paint.mask(base / f"{split}-mask" / f"{number:04d}.jpg", quality=60)
    (base / "tn3k-trainval-fold0.json").write_text("{}")
    return {"thyroid": {"bad": 3}}


BUILDERS: dict[str, Callable[[Path], Counts]] = {
    "mvtec_ad": mvtec_ad,
    "visa": visa,
    "btad": btad,
    "mpdd": mpdd,
    "magnetic_tile": magnetic_tile,
    "mvtec_loco": mvtec_loco,
    "mvtec_ad_2": mvtec_ad_2,
    "real_iad": real_iad,
    "bmad": bmad,
    "bmad_image": bmad_image,
    "isic": isic,
    "colondb": colondb,
    "clinicdb": clinicdb,
    "tn3k": tn3k,
}
