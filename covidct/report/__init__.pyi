from .ablation import Ablation as Ablation
from .ablation import AblationSection as AblationSection
from .ablation import write_ablation_csv as write_ablation_csv
from .ablation import write_ablation_json as write_ablation_json
from .ablation import write_ablation_page as write_ablation_page
from .audit import write_audit_csvs as write_audit_csvs
from .audit import write_audit_json as write_audit_json
from .audit import write_audit_page as write_audit_page
from .classification import classification_table as classification_table
from .cohort import write_cohort_page as write_cohort_page
from .curation import write_curation_csv as write_curation_csv
from .curation import write_curation_json as write_curation_json
from .curation import write_curation_page as write_curation_page
from .curation_panels import contrast_pair_panel as contrast_pair_panel
from .curation_panels import equalisation_panel as equalisation_panel
from .curation_panels import morphology_panel as morphology_panel
from .curation_panels import write_panel as write_panel
from .eda import write_eda_csvs as write_eda_csvs
from .eda import write_eda_json as write_eda_json
from .eda import write_eda_page as write_eda_page
from .eda_panels import EdaPanel as EdaPanel
from .eda_panels import PanelPicture as PanelPicture
from .eda_panels import example_panels as example_panels
from .evaluation import write_evaluation_page as write_evaluation_page
from .heat_map import label_distance_heat_map as label_distance_heat_map
from .metric_figures import figure_pixels as figure_pixels
from .metric_figures import metric_figures as metric_figures
from .metric_tables import write_metric_tables as write_metric_tables
from .otdd import ComparedSet as ComparedSet
from .otdd import OtddReport as OtddReport
from .otdd import write_otdd_csvs as write_otdd_csvs
from .otdd import write_otdd_json as write_otdd_json
from .otdd import write_otdd_page as write_otdd_page
from .scan import write_scan_page as write_scan_page
from .schema import result_schema as result_schema
from .score_board import ScoreBoard as ScoreBoard
from .score_board import ScoreDifference as ScoreDifference
from .score_board import ScoreRow as ScoreRow
from .score_board import ScoreSection as ScoreSection
from .score_board import write_score_board_csv as write_score_board_csv
from .score_board import write_score_board_json as write_score_board_json
from .score_board import write_score_board_page as write_score_board_page
from .segmentation import write_segmentation_csv as write_segmentation_csv
from .segmentation import write_segmentation_json as write_segmentation_json
from .study import Study as Study
from .study import StudySection as StudySection
from .study import write_study_csv as write_study_csv
from .study import write_study_json as write_study_json
from .study import write_study_page as write_study_page
from .tables import write_cohort_csv as write_cohort_csv
from .tables import write_cohort_parquet as write_cohort_parquet
from .tables import write_metrics_json as write_metrics_json
from .tables import write_predictions_csv as write_predictions_csv
from .tables import write_scan_json as write_scan_json
from .tables import write_slices_csv as write_slices_csv

__all__ = (
    "Ablation",
    "AblationSection",
    "ComparedSet",
    "EdaPanel",
    "OtddReport",
    "PanelPicture",
    "ScoreBoard",
    "ScoreDifference",
    "ScoreRow",
    "ScoreSection",
    "Study",
    "StudySection",
    "classification_table",
    "contrast_pair_panel",
    "equalisation_panel",
    "example_panels",
    "figure_pixels",
    "label_distance_heat_map",
    "metric_figures",
    "morphology_panel",
    "result_schema",
    "write_ablation_csv",
    "write_ablation_json",
    "write_ablation_page",
    "write_audit_csvs",
    "write_audit_json",
    "write_audit_page",
    "write_cohort_csv",
    "write_cohort_page",
    "write_cohort_parquet",
    "write_curation_csv",
    "write_curation_json",
    "write_curation_page",
    "write_eda_csvs",
    "write_eda_json",
    "write_eda_page",
    "write_evaluation_page",
    "write_metric_tables",
    "write_metrics_json",
    "write_otdd_csvs",
    "write_otdd_json",
    "write_otdd_page",
    "write_panel",
    "write_predictions_csv",
    "write_scan_json",
    "write_scan_page",
    "write_score_board_csv",
    "write_score_board_json",
    "write_score_board_page",
    "write_segmentation_csv",
    "write_segmentation_json",
    "write_slices_csv",
    "write_study_csv",
    "write_study_json",
    "write_study_page",
)
