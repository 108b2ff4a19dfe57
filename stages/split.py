"""data/manifest → data/splits/{train,val,test}, split by physical sample."""

from pathlib import Path

from shotcount.core import tables
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage
from shotcount.sampling import splits
from shotcount.sampling.settings import SplitParams


def main() -> None:
    split = load_params(Path("params.yaml"), SplitParams).split
    manifest = tables.read(Path("data/manifest"), tables.MANIFEST)
    sizes = manifest.drop_duplicates("sample")["label"].value_counts()
    if sizes.iloc[0] >= 5 * sizes.iloc[-1]:
        print(
            f"warning: {sizes.index[0]} has {sizes.iloc[0]} samples, {sizes.index[-1]} only "
            f"{sizes.iloc[-1]}: read balanced_accuracy instead of accuracy, or add samples"
        )
    for name, rows in splits.split_samples(manifest, split.val, split.test, split.seed).items():
        tables.write(Path(f"data/splits/{name}"), rows[list(tables.SPLIT)], tables.SPLIT)
        print(f"{name}: {rows['sample'].nunique()} samples, {len(rows)} photos")


if __name__ == "__main__":
    run_stage(main)
