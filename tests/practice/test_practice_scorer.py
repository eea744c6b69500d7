"""The scorer finds the label that shares most with a text."""

import pytest

from practice.scorer import probabilities_of, score_labels

LABELS = (
    ("技术", "软件、编程语言、性能优化、人工智能、机器学习、芯片、科学研究"),
    ("商业", "公司、财报、营收、市场、投资、汽车等新品发布"),
    ("娱乐", "电影、票房、音乐、明星、演出、晚会"),
    ("体育", "比赛、联赛、NBA、足球、奥运会、总决赛"),
)
ENGLISH = (("sports", "games, players, world championship"), ("money", "banks, interest rates, markets"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Python 3.13 发布了新的性能优化特性", "技术"),
        ("机器学习算法在医疗诊断中的应用", "技术"),
        ("人工智能芯片市场竞争激烈", "技术"),
        ("苹果公司发布了最新的财报，营收超预期", "商业"),
        ("特斯拉发布新款电动汽车", "商业"),
        ("电影《流浪地球3》票房突破10亿", "娱乐"),
        ("音乐节吸引了数万名观众", "娱乐"),
        ("好莱坞明星出席慈善晚会", "娱乐"),
        ("NBA 总决赛第七场比赛精彩纷呈", "体育"),
        ("世界杯足球赛进入淘汰赛阶段", "体育"),
    ],
)
def test_chinese_texts_get_the_label_whose_description_they_share(text, label):
    """A Chinese text gets the label whose description names what it is about."""
    assert score_labels(text, LABELS)[0] == label


@pytest.mark.parametrize(
    ("text", "label"),
    [("The BANK raised its Interest Rate", "money"), ("A player's last game", "sports")],
)
def test_english_texts_match_in_any_case_and_number(text, label):
    """An English text matches whatever its capitals and plurals."""
    assert score_labels(text, ENGLISH)[0] == label


def test_longer_phrases_weigh_more():
    """A long phrase found whole beats a short one."""
    best, scores = score_labels("机器学习公司", LABELS)
    assert best == "技术"
    assert scores["技术"] > scores["商业"] > scores["娱乐"]


def test_texts_that_share_nothing_spread_over_the_labels():
    """Where nothing matches, every label gets its part, and the same text always the same label."""
    texts = [f"zzz {number}" for number in range(200)]
    chosen = [score_labels(text, LABELS)[0] for text in texts]
    assert all(chosen.count(name) > 20 for name, _ in LABELS)
    assert chosen == [score_labels(text, LABELS)[0] for text in texts]


def test_the_order_of_labels_does_not_matter():
    """A tie falls the same way whatever order the labels come in."""
    turned = tuple(reversed(LABELS))
    assert all(score_labels(f"zzz {n}", LABELS)[0] == score_labels(f"zzz {n}", turned)[0] for n in range(50))


def test_probabilities_sum_to_one():
    """The shares of the labels make a whole, and the best label's is the largest."""
    best, scores = score_labels("足球比赛", LABELS)
    shares = probabilities_of(scores)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.__getitem__) == best == "体育"


def test_no_labels_is_an_error():
    """Choosing among nothing is refused."""
    with pytest.raises(ValueError, match="no labels"):
        score_labels("text", ())
