"""Numbers of versions and decisions in addresses: `{number:number}`, of few enough digits to be one anywhere."""

import re

from starlette.convertors import Convertor, register_url_convertor

DIGITS = 9
NUMBER = re.compile(rf"[0-9]{{1,{DIGITS}}}")


class _Number(Convertor[int]):
    regex = NUMBER.pattern

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", _Number())
