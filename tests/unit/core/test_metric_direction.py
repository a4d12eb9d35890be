"""Which direction of a metric is better: whole words of a documented list; others have no best run."""

import re
from pathlib import Path

import pytest

from neural.tracking.core import metric_direction as lists
from neural.tracking.core.metric_direction import better

SMALLER = """
    loss val/loss train_loss trainLoss loss/val Loss/Train val.loss losses/box loss/cls train_loss_step
    train_loss_epoch total_loss val/dice_loss dice_loss accuracy_loss reward_model_loss policy_loss
    loss_per_token BCELoss MSELoss NLLLoss val_logloss top1_error error_rate mse rmse rmsle val_mae mape
    sMAPE mean_squared_error cross_entropy val/crossentropy nll neg_log_likelihood
    negative_log_likelihood neg_elbo perplexity eval/ppl bits_per_dim bits_per_byte bpd wer cer eer fid
    FID50k fid_score lpips hd95 HD95 fpr FPR95 fpr_at_95_tpr fpr@95tpr false_positive_rate
    false_negatives ece brier_score hausdorff_distance kl_divergence regret davies_bouldin_score abs_rel
    rmsd mpjpe time/step_ms step_time epoch_time inference_latency latency_p99 seconds_per_step
    ms_per_token time_per_iteration eval_runtime gpu_memory_mb 1-ssim
"""
GREATER = """
    accuracy val_acc acc@1 top5_acc accuracy/top5 ce_accuracy f1 f1_score F1Score macro_f1 precision
    recall recall@10 recall_at_precision tpr true_positive_rate negative_predictive_value iou mIoU
    val/IoU IoU@0.5 dice val/dice mAP50-95 metrics/mAP50-95(B) AP50 roc_auc auroc pr_auc AUC ms_ssim
    ssim psnr si_sdr r2 r2_score explained_variance log_likelihood elbo reward mean_reward reward/track
    rollout/ep_rew_mean charts/episodic_return success_rate win_rate bleu BLEU-4 rouge-l rouge1
    rougeLsum inception_score mcc kappa spearman mrr ndcg@10 hits@10 pass@1 score test_score
    neg_mean_squared_error neg_log_loss samples_per_second images_per_seconds samples_per_ms
    tokens_per_second eval_steps_per_second throughput time/fps
"""
NOT_KNOWN = """
    grad_norm learning_rate lr epoch step episode_length rollout/ep_len_mean loss_scale loss/scale
    loss_weight reward_std accuracy_std accuracy_drop generalization_gap losses/entropy losses/approx_kl
    losses/clipfrac losses/explained_variance entropy kl temperature time wall_time elapsed_seconds
    timestamp time/total_timesteps num_errors error_count gloss glossary lossy remaps mass maps hash s h
    ms_foo loss/dice loss/accuracy neg_loss negative_loss distance distance_travelled weights/mean
    foo_score anomaly_score batch_size tokens_per_batch steps_per_epoch errors_per_second
    return_code non_error_rate error-free no_loss not_acc perplexity_gain error_recovery cost_saving
    inverse_loss inv_loss loss_fn_calls
    steps_to_reward memory/foo hd_video_frames custom top1 x 精度 / 0.5
"""


@pytest.mark.parametrize(
    ("name", "direction"),
    [(name, "min") for name in SMALLER.split()]
    + [(name, "max") for name in GREATER.split()]
    + [(name, None) for name in [*NOT_KNOWN.split(), "", "a b"]],
)
def test_name_tells_which_way_is_better_or_nothing(name, direction):
    assert better(name) == direction


def test_no_word_is_in_two_lists():
    told = [lists.MIN_WORDS, lists.MAX_WORDS, lists.COST_WORDS, lists.SPEED_WORDS, lists.TIME_UNITS]
    words = [word for known in (*told, lists.EXCLUDING, lists.NEUTRAL) for word in known]

    assert len(words) == len(set(words))


@pytest.mark.parametrize("word", sorted(lists.MIN_WORDS | lists.MAX_WORDS))
def test_every_listed_word_alone_tells_its_direction_and_inside_another_nothing(word):
    assert better(word) == better(f"val/{word}") == ("min" if word in lists.MIN_WORDS else "max")
    assert better(f"x{word}zz") is None


def test_page_shows_the_lists_of_the_code():
    page = (Path(__file__).parents[3] / "docs" / "better.md").read_text()
    blocks = [re.split(r",?\s+|,", block.strip()) for block in re.findall(r"```\n(.*?)```", page, re.DOTALL)]

    smaller, units, smaller_phrases, greater, greater_phrases, silencing = blocks
    assert set(smaller) == lists.MIN_WORDS | lists.COST_WORDS
    assert set(units) == lists.TIME_UNITS
    assert set(greater) == lists.MAX_WORDS | lists.SPEED_WORDS
    assert set(silencing) == lists.EXCLUDING
    for told, direction in ((smaller_phrases, "min"), (greater_phrases, "max")):
        assert " ".join(told) == " ".join(sorted(p for p, way in lists.PHRASES.items() if way == direction))
