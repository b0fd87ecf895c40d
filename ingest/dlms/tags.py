"""Every APDU tag of the Green Book, by name."""

from typing import Final

DATA_NOTIFICATION: Final = 0x0F
INFORMATION_REPORT: Final = 0x18
EVENT_NOTIFICATION: Final = 0xC2
GET_RESPONSE: Final = 0xC4
ACCESS_RESPONSE: Final = 0xDA
GENERAL_GLO: Final = 0xDB
GENERAL_DED: Final = 0xDC
GENERAL_CIPHERING: Final = 0xDD
GENERAL_SIGNING: Final = 0xDF
GENERAL_BLOCK_TRANSFER: Final = 0xE0

APDU_NAMES: Final[dict[int, str]] = {
    0x01: "initiate-request",
    0x08: "initiate-response",
    0x0E: "confirmed-service-error",
    0x0F: "data-notification",
    0x18: "information-report-request",
    0x21: "glo-initiate-request",
    0x28: "glo-initiate-response",
    0x38: "glo-information-report-request",
    0x41: "ded-initiate-request",
    0x48: "ded-initiate-response",
    0x58: "ded-information-report-request",
    0x60: "association-request",
    0x61: "association-response",
    0x62: "release-request",
    0x63: "release-response",
    0xC0: "get-request",
    0xC1: "set-request",
    0xC2: "event-notification",
    0xC3: "action-request",
    0xC4: "get-response",
    0xC5: "set-response",
    0xC7: "action-response",
    0xC8: "glo-get-request",
    0xC9: "glo-set-request",
    0xCA: "glo-event-notification",
    0xCB: "glo-action-request",
    0xCC: "glo-get-response",
    0xCD: "glo-set-response",
    0xCF: "glo-action-response",
    0xD0: "ded-get-request",
    0xD1: "ded-set-request",
    0xD2: "ded-event-notification",
    0xD3: "ded-action-request",
    0xD4: "ded-get-response",
    0xD5: "ded-set-response",
    0xD7: "ded-action-response",
    0xD8: "exception-response",
    0xD9: "access-request",
    0xDA: "access-response",
    0xDB: "general-glo-ciphering",
    0xDC: "general-ded-ciphering",
    0xDD: "general-ciphering",
    0xDF: "general-signing",
    0xE0: "general-block-transfer",
}
"""Every APDU tag of the Green Book that this decoder can name."""
