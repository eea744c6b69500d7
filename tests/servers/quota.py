"""A provider whose account has run out: no text is answered until somebody pays or a day has passed."""

from servers.base import Endpoint, Reply, completion, error

DAY_SECONDS = 86_400


def exhausted():
    """How providers say it, by name; none of them costs anything."""
    gemini = {
        "error": {
            "code": 429,
            "message": "You exceeded your current quota, please check your plan and billing details.",
            "status": "RESOURCE_EXHAUSTED",
            "details": [
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
                }
            ],
        }
    }
    return {
        # https://docs.bigmodel.cn/cn/faq/api-code
        "Zhipu": (
            Reply(429, {"error": {"code": "1113", "message": "您的账户已欠费，请充值后重试。"}}),
            "您的账户已欠费",
        ),
        # https://platform.moonshot.ai/docs/api/chat
        "Moonshot": (
            error(
                429,
                "Your account <ak-1> is suspended, please check your plan and billing details",
                kind="exceeded_current_quota_error",
            ),
            "is suspended",
        ),
        "OpenAI": (
            error(
                429,
                "You exceeded your current quota, please check your plan and billing details.",
                kind="insufficient_quota",
                code="insufficient_quota",
            ),
            "exceeded your current quota",
        ),
        # https://ai.google.dev/gemini-api/docs/rate-limits; its OpenAI interface sends errors in a list
        "Gemini, a day's": (Reply(429, [gemini]), "exceeded your current quota"),
        # https://api-docs.deepseek.com/quick_start/error_codes
        "DeepSeek": (error(402, "Insufficient Balance", kind="unknown_error"), "Insufficient Balance"),
        # An arrears message of DashScope's: https://help.aliyun.com/zh/model-studio/error-code
        "DashScope": (
            error(400, "Access denied, please make sure your account is in good standing.", code="Arrearage"),
            "good standing",
        ),
        "a Retry-After of a day": (
            error(429, "Too many tokens today", kind="tokens", headers={"retry-after": DAY_SECONDS}),
            "Too many tokens today",
        ),
    }


class Quota(Endpoint):
    """Answers `enough` requests, and none after; `enough` may be raised, as an account is topped up."""

    def __init__(self, refusal, enough=0):
        super().__init__()
        self.refusal, self.enough = refusal, enough

    def reply(self, call):
        """Answer it while there is money."""
        return completion(call) if call.number <= self.enough else self.refusal
