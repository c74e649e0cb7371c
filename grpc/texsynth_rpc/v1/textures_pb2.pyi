from . import jobs_pb2 as _jobs_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetManifestRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class GetManifestResponse(_message.Message):
    __slots__ = ("texture",)
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    texture: Texture
    def __init__(self, texture: _Optional[_Union[Texture, _Mapping]] = ...) -> None: ...

class Texture(_message.Message):
    __slots__ = ("version", "maps", "blocks_sha256")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_SHA256_FIELD_NUMBER: _ClassVar[int]
    version: str
    maps: _containers.RepeatedCompositeFieldContainer[TextureMap]
    blocks_sha256: str
    def __init__(self, version: _Optional[str] = ..., maps: _Optional[_Iterable[_Union[TextureMap, _Mapping]]] = ..., blocks_sha256: _Optional[str] = ...) -> None: ...

class TextureMap(_message.Message):
    __slots__ = ("kind", "format", "colour_space", "block_width", "block_height", "block_bytes", "levels", "chunk_side", "chunks")
    KIND_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    COLOUR_SPACE_FIELD_NUMBER: _ClassVar[int]
    BLOCK_WIDTH_FIELD_NUMBER: _ClassVar[int]
    BLOCK_HEIGHT_FIELD_NUMBER: _ClassVar[int]
    BLOCK_BYTES_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIDE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    format: str
    colour_space: str
    block_width: int
    block_height: int
    block_bytes: int
    levels: _containers.RepeatedCompositeFieldContainer[TextureLevel]
    chunk_side: int
    chunks: _containers.RepeatedCompositeFieldContainer[TextureChunk]
    def __init__(self, kind: _Optional[str] = ..., format: _Optional[str] = ..., colour_space: _Optional[str] = ..., block_width: _Optional[int] = ..., block_height: _Optional[int] = ..., block_bytes: _Optional[int] = ..., levels: _Optional[_Iterable[_Union[TextureLevel, _Mapping]]] = ..., chunk_side: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[TextureChunk, _Mapping]]] = ...) -> None: ...

class TextureLevel(_message.Message):
    __slots__ = ("width", "height", "sha256", "size", "chunk_side", "deflated_sha256")
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_SIDE_FIELD_NUMBER: _ClassVar[int]
    DEFLATED_SHA256_FIELD_NUMBER: _ClassVar[int]
    width: int
    height: int
    sha256: str
    size: int
    chunk_side: int
    deflated_sha256: str
    def __init__(self, width: _Optional[int] = ..., height: _Optional[int] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., chunk_side: _Optional[int] = ..., deflated_sha256: _Optional[str] = ...) -> None: ...

class TextureChunk(_message.Message):
    __slots__ = ("level", "levels", "y", "x", "height", "width", "sha256", "size", "error", "entropy", "deflated_size")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    ENTROPY_FIELD_NUMBER: _ClassVar[int]
    DEFLATED_SIZE_FIELD_NUMBER: _ClassVar[int]
    level: int
    levels: int
    y: int
    x: int
    height: int
    width: int
    sha256: str
    size: int
    error: float
    entropy: float
    deflated_size: int
    def __init__(self, level: _Optional[int] = ..., levels: _Optional[int] = ..., y: _Optional[int] = ..., x: _Optional[int] = ..., height: _Optional[int] = ..., width: _Optional[int] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ..., error: _Optional[float] = ..., entropy: _Optional[float] = ..., deflated_size: _Optional[int] = ...) -> None: ...

class GetReportRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class GetReportResponse(_message.Message):
    __slots__ = ("metrics",)
    METRICS_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.RepeatedCompositeFieldContainer[_jobs_pb2.Metric]
    def __init__(self, metrics: _Optional[_Iterable[_Union[_jobs_pb2.Metric, _Mapping]]] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("job", "version", "sha256", "offset")
    JOB_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    job: str
    version: str
    sha256: str
    offset: int
    def __init__(self, job: _Optional[str] = ..., version: _Optional[str] = ..., sha256: _Optional[str] = ..., offset: _Optional[int] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("offset", "data", "crc32c", "size")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    offset: int
    data: bytes
    crc32c: int
    size: int
    def __init__(self, offset: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., size: _Optional[int] = ...) -> None: ...
