from . import textures_pb2 as _textures_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Order(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDER_UNSPECIFIED: _ClassVar[Order]
    ORDER_RASTER: _ClassVar[Order]
    ORDER_COARSE_FIRST: _ClassVar[Order]
    ORDER_ENTROPY: _ClassVar[Order]
    ORDER_VIEW: _ClassVar[Order]
ORDER_UNSPECIFIED: Order
ORDER_RASTER: Order
ORDER_COARSE_FIRST: Order
ORDER_ENTROPY: Order
ORDER_VIEW: Order

class ShowRequest(_message.Message):
    __slots__ = ("scene", "surface", "job")
    SCENE_FIELD_NUMBER: _ClassVar[int]
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    scene: str
    surface: str
    job: str
    def __init__(self, scene: _Optional[str] = ..., surface: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class ShowResponse(_message.Message):
    __slots__ = ("surface",)
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    surface: Surface
    def __init__(self, surface: _Optional[_Union[Surface, _Mapping]] = ...) -> None: ...

class HideRequest(_message.Message):
    __slots__ = ("scene", "surface")
    SCENE_FIELD_NUMBER: _ClassVar[int]
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    scene: str
    surface: str
    def __init__(self, scene: _Optional[str] = ..., surface: _Optional[str] = ...) -> None: ...

class HideResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetSceneRequest(_message.Message):
    __slots__ = ("scene",)
    SCENE_FIELD_NUMBER: _ClassVar[int]
    scene: str
    def __init__(self, scene: _Optional[str] = ...) -> None: ...

class GetSceneResponse(_message.Message):
    __slots__ = ("surfaces",)
    SURFACES_FIELD_NUMBER: _ClassVar[int]
    surfaces: _containers.RepeatedCompositeFieldContainer[Surface]
    def __init__(self, surfaces: _Optional[_Iterable[_Union[Surface, _Mapping]]] = ...) -> None: ...

class Surface(_message.Message):
    __slots__ = ("name", "version", "job")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    name: str
    version: int
    job: str
    def __init__(self, name: _Optional[str] = ..., version: _Optional[int] = ..., job: _Optional[str] = ...) -> None: ...

class OpenRequest(_message.Message):
    __slots__ = ("hello", "view", "gaze", "selection", "credit", "acknowledgement", "budget")
    HELLO_FIELD_NUMBER: _ClassVar[int]
    VIEW_FIELD_NUMBER: _ClassVar[int]
    GAZE_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGEMENT_FIELD_NUMBER: _ClassVar[int]
    BUDGET_FIELD_NUMBER: _ClassVar[int]
    hello: Hello
    view: View
    gaze: Gaze
    selection: Selection
    credit: Credit
    acknowledgement: Acknowledgement
    budget: MemoryBudget
    def __init__(self, hello: _Optional[_Union[Hello, _Mapping]] = ..., view: _Optional[_Union[View, _Mapping]] = ..., gaze: _Optional[_Union[Gaze, _Mapping]] = ..., selection: _Optional[_Union[Selection, _Mapping]] = ..., credit: _Optional[_Union[Credit, _Mapping]] = ..., acknowledgement: _Optional[_Union[Acknowledgement, _Mapping]] = ..., budget: _Optional[_Union[MemoryBudget, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("scene", "formats", "largest_texture", "memory_budget", "credit", "resume_token", "order", "deflate", "batches", "marks")
    SCENE_FIELD_NUMBER: _ClassVar[int]
    FORMATS_FIELD_NUMBER: _ClassVar[int]
    LARGEST_TEXTURE_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BUDGET_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    RESUME_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ORDER_FIELD_NUMBER: _ClassVar[int]
    DEFLATE_FIELD_NUMBER: _ClassVar[int]
    BATCHES_FIELD_NUMBER: _ClassVar[int]
    MARKS_FIELD_NUMBER: _ClassVar[int]
    scene: str
    formats: _containers.RepeatedScalarFieldContainer[str]
    largest_texture: int
    memory_budget: int
    credit: int
    resume_token: bytes
    order: Order
    deflate: bool
    batches: bool
    marks: bool
    def __init__(self, scene: _Optional[str] = ..., formats: _Optional[_Iterable[str]] = ..., largest_texture: _Optional[int] = ..., memory_budget: _Optional[int] = ..., credit: _Optional[int] = ..., resume_token: _Optional[bytes] = ..., order: _Optional[_Union[Order, str]] = ..., deflate: bool = ..., batches: bool = ..., marks: bool = ...) -> None: ...

class View(_message.Message):
    __slots__ = ("surfaces", "tile_side", "gaze")
    SURFACES_FIELD_NUMBER: _ClassVar[int]
    TILE_SIDE_FIELD_NUMBER: _ClassVar[int]
    GAZE_FIELD_NUMBER: _ClassVar[int]
    surfaces: _containers.RepeatedCompositeFieldContainer[SeenSurface]
    tile_side: int
    gaze: Gaze
    def __init__(self, surfaces: _Optional[_Iterable[_Union[SeenSurface, _Mapping]]] = ..., tile_side: _Optional[int] = ..., gaze: _Optional[_Union[Gaze, _Mapping]] = ...) -> None: ...

class SeenSurface(_message.Message):
    __slots__ = ("surface", "tiles")
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    TILES_FIELD_NUMBER: _ClassVar[int]
    surface: str
    tiles: _containers.RepeatedCompositeFieldContainer[Tile]
    def __init__(self, surface: _Optional[str] = ..., tiles: _Optional[_Iterable[_Union[Tile, _Mapping]]] = ...) -> None: ...

class Tile(_message.Message):
    __slots__ = ("level", "row", "column", "pixels", "x", "y")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    PIXELS_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    level: int
    row: int
    column: int
    pixels: int
    x: float
    y: float
    def __init__(self, level: _Optional[int] = ..., row: _Optional[int] = ..., column: _Optional[int] = ..., pixels: _Optional[int] = ..., x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Gaze(_message.Message):
    __slots__ = ("known", "x", "y")
    KNOWN_FIELD_NUMBER: _ClassVar[int]
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    known: bool
    x: float
    y: float
    def __init__(self, known: bool = ..., x: _Optional[float] = ..., y: _Optional[float] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("surfaces",)
    SURFACES_FIELD_NUMBER: _ClassVar[int]
    surfaces: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, surfaces: _Optional[_Iterable[str]] = ...) -> None: ...

class Credit(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class Acknowledgement(_message.Message):
    __slots__ = ("sequence", "credit")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    credit: int
    def __init__(self, sequence: _Optional[int] = ..., credit: _Optional[int] = ...) -> None: ...

class MemoryBudget(_message.Message):
    __slots__ = ("bytes",)
    BYTES_FIELD_NUMBER: _ClassVar[int]
    bytes: int
    def __init__(self, bytes: _Optional[int] = ...) -> None: ...

class OpenResponse(_message.Message):
    __slots__ = ("new_version", "chunk", "level_complete", "eviction", "forgotten", "settled", "announced", "chunks", "encoded")
    NEW_VERSION_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    LEVEL_COMPLETE_FIELD_NUMBER: _ClassVar[int]
    EVICTION_FIELD_NUMBER: _ClassVar[int]
    FORGOTTEN_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    ANNOUNCED_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    ENCODED_FIELD_NUMBER: _ClassVar[int]
    new_version: NewVersion
    chunk: StreamedChunk
    level_complete: LevelComplete
    eviction: Eviction
    forgotten: Forgotten
    settled: Settled
    announced: Announced
    chunks: StreamedChunks
    encoded: Encoded
    def __init__(self, new_version: _Optional[_Union[NewVersion, _Mapping]] = ..., chunk: _Optional[_Union[StreamedChunk, _Mapping]] = ..., level_complete: _Optional[_Union[LevelComplete, _Mapping]] = ..., eviction: _Optional[_Union[Eviction, _Mapping]] = ..., forgotten: _Optional[_Union[Forgotten, _Mapping]] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ..., announced: _Optional[_Union[Announced, _Mapping]] = ..., chunks: _Optional[_Union[StreamedChunks, _Mapping]] = ..., encoded: _Optional[_Union[Encoded, _Mapping]] = ...) -> None: ...

class NewVersion(_message.Message):
    __slots__ = ("texture", "surface", "map", "finest_level", "kept", "tail_level")
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    SURFACE_FIELD_NUMBER: _ClassVar[int]
    MAP_FIELD_NUMBER: _ClassVar[int]
    FINEST_LEVEL_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    TAIL_LEVEL_FIELD_NUMBER: _ClassVar[int]
    texture: int
    surface: Surface
    map: _textures_pb2.TextureMap
    finest_level: int
    kept: _containers.RepeatedScalarFieldContainer[int]
    tail_level: int
    def __init__(self, texture: _Optional[int] = ..., surface: _Optional[_Union[Surface, _Mapping]] = ..., map: _Optional[_Union[_textures_pb2.TextureMap, _Mapping]] = ..., finest_level: _Optional[int] = ..., kept: _Optional[_Iterable[int]] = ..., tail_level: _Optional[int] = ...) -> None: ...

class StreamedChunks(_message.Message):
    __slots__ = ("chunks",)
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    chunks: _containers.RepeatedCompositeFieldContainer[StreamedChunk]
    def __init__(self, chunks: _Optional[_Iterable[_Union[StreamedChunk, _Mapping]]] = ...) -> None: ...

class StreamedChunk(_message.Message):
    __slots__ = ("sequence", "texture", "index", "data", "crc32c", "inflated", "complete")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    CRC32C_FIELD_NUMBER: _ClassVar[int]
    INFLATED_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    texture: int
    index: int
    data: bytes
    crc32c: int
    inflated: int
    complete: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, sequence: _Optional[int] = ..., texture: _Optional[int] = ..., index: _Optional[int] = ..., data: _Optional[bytes] = ..., crc32c: _Optional[int] = ..., inflated: _Optional[int] = ..., complete: _Optional[_Iterable[int]] = ...) -> None: ...

class LevelComplete(_message.Message):
    __slots__ = ("texture", "level")
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    texture: int
    level: int
    def __init__(self, texture: _Optional[int] = ..., level: _Optional[int] = ...) -> None: ...

class Eviction(_message.Message):
    __slots__ = ("texture", "index")
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    texture: int
    index: int
    def __init__(self, texture: _Optional[int] = ..., index: _Optional[int] = ...) -> None: ...

class Forgotten(_message.Message):
    __slots__ = ("texture",)
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    texture: int
    def __init__(self, texture: _Optional[int] = ...) -> None: ...

class Encoded(_message.Message):
    __slots__ = ("texture", "levels")
    TEXTURE_FIELD_NUMBER: _ClassVar[int]
    LEVELS_FIELD_NUMBER: _ClassVar[int]
    texture: int
    levels: _containers.RepeatedCompositeFieldContainer[EncodedLevel]
    def __init__(self, texture: _Optional[int] = ..., levels: _Optional[_Iterable[_Union[EncodedLevel, _Mapping]]] = ...) -> None: ...

class EncodedLevel(_message.Message):
    __slots__ = ("level", "sha256")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    level: int
    sha256: str
    def __init__(self, level: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Announced(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
