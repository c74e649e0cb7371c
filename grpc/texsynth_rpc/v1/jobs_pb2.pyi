from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class Priority(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PRIORITY_UNSPECIFIED: _ClassVar[Priority]
    PRIORITY_INTERACTIVE: _ClassVar[Priority]
    PRIORITY_BATCH: _ClassVar[Priority]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
PRIORITY_UNSPECIFIED: Priority
PRIORITY_INTERACTIVE: Priority
PRIORITY_BATCH: Priority

class InputFile(_message.Message):
    __slots__ = ("name", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ...) -> None: ...

class Input(_message.Message):
    __slots__ = ("files", "main", "name")
    FILES_FIELD_NUMBER: _ClassVar[int]
    MAIN_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    files: _containers.RepeatedCompositeFieldContainer[InputFile]
    main: str
    name: str
    def __init__(self, files: _Optional[_Iterable[_Union[InputFile, _Mapping]]] = ..., main: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class Fraction(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: float
    def __init__(self, value: _Optional[float] = ...) -> None: ...

class Brush(_message.Message):
    __slots__ = ("x", "y", "z", "radius", "falloff")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    Z_FIELD_NUMBER: _ClassVar[int]
    RADIUS_FIELD_NUMBER: _ClassVar[int]
    FALLOFF_FIELD_NUMBER: _ClassVar[int]
    x: float
    y: float
    z: float
    radius: float
    falloff: float
    def __init__(self, x: _Optional[float] = ..., y: _Optional[float] = ..., z: _Optional[float] = ..., radius: _Optional[float] = ..., falloff: _Optional[float] = ...) -> None: ...

class MeshSelection(_message.Message):
    __slots__ = ("triangles", "slots", "brushes")
    TRIANGLES_FIELD_NUMBER: _ClassVar[int]
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    BRUSHES_FIELD_NUMBER: _ClassVar[int]
    triangles: _containers.RepeatedScalarFieldContainer[int]
    slots: _containers.RepeatedScalarFieldContainer[str]
    brushes: _containers.RepeatedCompositeFieldContainer[Brush]
    def __init__(self, triangles: _Optional[_Iterable[int]] = ..., slots: _Optional[_Iterable[str]] = ..., brushes: _Optional[_Iterable[_Union[Brush, _Mapping]]] = ...) -> None: ...

class Options(_message.Message):
    __slots__ = ("size", "maps", "content", "preset", "target", "format", "compression", "seed", "tileable", "density", "detail", "overlap", "material", "normals", "nonfinite", "region_sha256", "second", "blend", "blend_sha256", "seams", "selection", "fit", "grain", "style_size", "geometry", "tone", "faithful", "model")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    TILEABLE_FIELD_NUMBER: _ClassVar[int]
    DENSITY_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    MATERIAL_FIELD_NUMBER: _ClassVar[int]
    NORMALS_FIELD_NUMBER: _ClassVar[int]
    NONFINITE_FIELD_NUMBER: _ClassVar[int]
    REGION_SHA256_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    BLEND_FIELD_NUMBER: _ClassVar[int]
    BLEND_SHA256_FIELD_NUMBER: _ClassVar[int]
    SEAMS_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    FIT_FIELD_NUMBER: _ClassVar[int]
    GRAIN_FIELD_NUMBER: _ClassVar[int]
    STYLE_SIZE_FIELD_NUMBER: _ClassVar[int]
    GEOMETRY_FIELD_NUMBER: _ClassVar[int]
    TONE_FIELD_NUMBER: _ClassVar[int]
    FAITHFUL_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    size: int
    maps: _containers.RepeatedScalarFieldContainer[str]
    content: Fraction
    preset: str
    target: str
    format: str
    compression: str
    seed: int
    tileable: bool
    density: float
    detail: Fraction
    overlap: str
    material: str
    normals: str
    nonfinite: str
    region_sha256: str
    second: Input
    blend: Fraction
    blend_sha256: str
    seams: str
    selection: MeshSelection
    fit: str
    grain: float
    style_size: float
    geometry: str
    tone: Fraction
    faithful: Fraction
    model: str
    def __init__(self, size: _Optional[int] = ..., maps: _Optional[_Iterable[str]] = ..., content: _Optional[_Union[Fraction, _Mapping]] = ..., preset: _Optional[str] = ..., target: _Optional[str] = ..., format: _Optional[str] = ..., compression: _Optional[str] = ..., seed: _Optional[int] = ..., tileable: bool = ..., density: _Optional[float] = ..., detail: _Optional[_Union[Fraction, _Mapping]] = ..., overlap: _Optional[str] = ..., material: _Optional[str] = ..., normals: _Optional[str] = ..., nonfinite: _Optional[str] = ..., region_sha256: _Optional[str] = ..., second: _Optional[_Union[Input, _Mapping]] = ..., blend: _Optional[_Union[Fraction, _Mapping]] = ..., blend_sha256: _Optional[str] = ..., seams: _Optional[str] = ..., selection: _Optional[_Union[MeshSelection, _Mapping]] = ..., fit: _Optional[str] = ..., grain: _Optional[float] = ..., style_size: _Optional[float] = ..., geometry: _Optional[str] = ..., tone: _Optional[_Union[Fraction, _Mapping]] = ..., faithful: _Optional[_Union[Fraction, _Mapping]] = ..., model: _Optional[str] = ...) -> None: ...

class RestyleJob(_message.Message):
    __slots__ = ("asset", "exemplar", "options")
    ASSET_FIELD_NUMBER: _ClassVar[int]
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    asset: Input
    exemplar: Input
    options: Options
    def __init__(self, asset: _Optional[_Union[Input, _Mapping]] = ..., exemplar: _Optional[_Union[Input, _Mapping]] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class SynthesizeJob(_message.Message):
    __slots__ = ("exemplar", "options")
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    exemplar: Input
    options: Options
    def __init__(self, exemplar: _Optional[_Union[Input, _Mapping]] = ..., options: _Optional[_Union[Options, _Mapping]] = ...) -> None: ...

class MipsJob(_message.Message):
    __slots__ = ("source", "target", "format", "compression", "maps")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    MAPS_FIELD_NUMBER: _ClassVar[int]
    source: Input
    target: str
    format: str
    compression: str
    maps: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, source: _Optional[_Union[Input, _Mapping]] = ..., target: _Optional[str] = ..., format: _Optional[str] = ..., compression: _Optional[str] = ..., maps: _Optional[_Iterable[str]] = ...) -> None: ...

class MeasureJob(_message.Message):
    __slots__ = ("generated", "reference", "unpaired")
    GENERATED_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    UNPAIRED_FIELD_NUMBER: _ClassVar[int]
    generated: Input
    reference: Input
    unpaired: bool
    def __init__(self, generated: _Optional[_Union[Input, _Mapping]] = ..., reference: _Optional[_Union[Input, _Mapping]] = ..., unpaired: bool = ...) -> None: ...

class BakeEntry(_message.Message):
    __slots__ = ("name", "asset", "exemplar", "options", "reference")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ASSET_FIELD_NUMBER: _ClassVar[int]
    EXEMPLAR_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    asset: Input
    exemplar: Input
    options: Options
    reference: Input
    def __init__(self, name: _Optional[str] = ..., asset: _Optional[_Union[Input, _Mapping]] = ..., exemplar: _Optional[_Union[Input, _Mapping]] = ..., options: _Optional[_Union[Options, _Mapping]] = ..., reference: _Optional[_Union[Input, _Mapping]] = ...) -> None: ...

class BakeJob(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[BakeEntry]
    def __init__(self, entries: _Optional[_Iterable[_Union[BakeEntry, _Mapping]]] = ...) -> None: ...

class Work(_message.Message):
    __slots__ = ("restyle", "synthesize", "mips", "measure", "bake")
    RESTYLE_FIELD_NUMBER: _ClassVar[int]
    SYNTHESIZE_FIELD_NUMBER: _ClassVar[int]
    MIPS_FIELD_NUMBER: _ClassVar[int]
    MEASURE_FIELD_NUMBER: _ClassVar[int]
    BAKE_FIELD_NUMBER: _ClassVar[int]
    restyle: RestyleJob
    synthesize: SynthesizeJob
    mips: MipsJob
    measure: MeasureJob
    bake: BakeJob
    def __init__(self, restyle: _Optional[_Union[RestyleJob, _Mapping]] = ..., synthesize: _Optional[_Union[SynthesizeJob, _Mapping]] = ..., mips: _Optional[_Union[MipsJob, _Mapping]] = ..., measure: _Optional[_Union[MeasureJob, _Mapping]] = ..., bake: _Optional[_Union[BakeJob, _Mapping]] = ...) -> None: ...

class JobError(_message.Message):
    __slots__ = ("kind", "message")
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    message: str
    def __init__(self, kind: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ResultFile(_message.Message):
    __slots__ = ("name", "sha256", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    sha256: str
    size: int
    def __init__(self, name: _Optional[str] = ..., sha256: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("stage", "fraction", "remaining_seconds", "preview_sha256")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    FRACTION_FIELD_NUMBER: _ClassVar[int]
    REMAINING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_SHA256_FIELD_NUMBER: _ClassVar[int]
    stage: str
    fraction: float
    remaining_seconds: float
    preview_sha256: str
    def __init__(self, stage: _Optional[str] = ..., fraction: _Optional[float] = ..., remaining_seconds: _Optional[float] = ..., preview_sha256: _Optional[str] = ...) -> None: ...

class Metric(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: float
    def __init__(self, name: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("metrics",)
    METRICS_FIELD_NUMBER: _ClassVar[int]
    metrics: _containers.RepeatedCompositeFieldContainer[Metric]
    def __init__(self, metrics: _Optional[_Iterable[_Union[Metric, _Mapping]]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "request_id", "state", "priority", "work", "progress", "attempts", "submitted", "changed", "error", "files", "deadline")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FILES_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    id: str
    request_id: str
    state: JobState
    priority: Priority
    work: Work
    progress: Progress
    attempts: int
    submitted: _timestamp_pb2.Timestamp
    changed: _timestamp_pb2.Timestamp
    error: JobError
    files: _containers.RepeatedCompositeFieldContainer[ResultFile]
    deadline: _timestamp_pb2.Timestamp
    def __init__(self, id: _Optional[str] = ..., request_id: _Optional[str] = ..., state: _Optional[_Union[JobState, str]] = ..., priority: _Optional[_Union[Priority, str]] = ..., work: _Optional[_Union[Work, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., attempts: _Optional[int] = ..., submitted: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., changed: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., error: _Optional[_Union[JobError, _Mapping]] = ..., files: _Optional[_Iterable[_Union[ResultFile, _Mapping]]] = ..., deadline: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class SubmitRequest(_message.Message):
    __slots__ = ("request_id", "work", "priority", "deadline_seconds")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    work: Work
    priority: Priority
    deadline_seconds: float
    def __init__(self, request_id: _Optional[str] = ..., work: _Optional[_Union[Work, _Mapping]] = ..., priority: _Optional[_Union[Priority, str]] = ..., deadline_seconds: _Optional[float] = ...) -> None: ...

class SubmitResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class GetRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "states")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    states: _containers.RepeatedScalarFieldContainer[JobState]
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., states: _Optional[_Iterable[_Union[JobState, str]]] = ...) -> None: ...

class ListResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRequest(_message.Message):
    __slots__ = ("id", "from_event")
    ID_FIELD_NUMBER: _ClassVar[int]
    FROM_EVENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    from_event: int
    def __init__(self, id: _Optional[str] = ..., from_event: _Optional[int] = ...) -> None: ...

class WatchResponse(_message.Message):
    __slots__ = ("number", "time", "state", "progress", "metrics")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    number: int
    time: _timestamp_pb2.Timestamp
    state: Job
    progress: Progress
    metrics: Metrics
    def __init__(self, number: _Optional[int] = ..., time: _Optional[_Union[_timestamp_pb2.Timestamp, _Mapping]] = ..., state: _Optional[_Union[Job, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class RetryRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RetryResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: Job
    def __init__(self, job: _Optional[_Union[Job, _Mapping]] = ...) -> None: ...

class DeleteRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class DeleteResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListModelsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Model(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListModelsResponse(_message.Message):
    __slots__ = ("models",)
    MODELS_FIELD_NUMBER: _ClassVar[int]
    models: _containers.RepeatedCompositeFieldContainer[Model]
    def __init__(self, models: _Optional[_Iterable[_Union[Model, _Mapping]]] = ...) -> None: ...
