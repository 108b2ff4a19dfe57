"""data/evaluation → metrics/: statistics, answer, charts, report; pull requests compare them."""

from pathlib import Path

from shotcount.core import files
from shotcount.core.params import load_params
from shotcount.core.stage import run_stage, time_taken
from shotcount.core.study import StudyParams, stage_runs
from shotcount.core.tables import BOXES, LEFT_OUT, MANIFEST, SPLIT, of_seed, read, table_file, write
from shotcount.findings.settings import AnswerParams
from shotcount.findings.study import study_results, training_results
from shotcount.findings.tables import metrics_tables
from shotcount.report import charts, numbers, page, sections
from shotcount.scoring.scores import scoring_for
from shotcount.scoring.suspects import SUSPECTS

PHOTOS, TRAIN, OUT = Path("data/manifest"), Path("data/splits/train"), Path("metrics")


class Params(StudyParams, AnswerParams):
    pass


def main() -> None:
    params = load_params(Path("params.yaml"), Params)
    study = params.study
    history, unsettled = training_results(Path("data/models"), Path("data/rates"), study)
    manifest, train = read(PHOTOS, MANIFEST), of_seed(read(TRAIN, SPLIT), 0)
    boxes = read(Path("data/boxes"), BOXES)
    share = train["sample"].nunique() / manifest["sample"].nunique()
    model = files.read_json(Path("data/classifier/model.json"))
    scoring = scoring_for(model["classes"], boxes)
    results, answer, test = study_results(
        Path("data/evaluation"), study, manifest, scoring, params.answer, unsettled, share,
    )  # fmt: skip
    results["history"] = history
    left_out = read(Path("data/left_out.csv"), LEFT_OUT)
    data = numbers.facts(manifest, left_out, test, boxes, files.sha256(table_file(PHOTOS)))
    columns = metrics_tables(answer.metric.key, scoring.finds)
    for name, table in results.items():
        write(OUT / f"{name}.csv", table, columns[name])
    files.write_json(OUT / "metrics.json", numbers.summary(results, answer, data))
    files.write_text(OUT / "study.md", sections.markdown(results, answer, data))
    drawn = charts.draw_all(results, params.answer.reference, answer)
    charts.save(drawn["accuracy_vs_size"], OUT / "accuracy_vs_size.png")
    for name, chart in drawn.items():
        charts.save(chart, OUT / f"{name}.svg")
    run = page.RunFacts(
        params=Path("params.yaml").read_text(encoding="utf-8"),
        model=model,
        left_out=left_out,
    )
    suspects = read(Path("data/suspects.csv"), SUSPECTS)
    shown = page.render(results, answer, data, OUT, Path("data/gallery"), suspects, run)
    files.write_text(OUT / "report.html", shown)
    print(time_taken(stage_runs(study)))


if __name__ == "__main__":
    run_stage(main)
