# cython: boundscheck=False, wraparound=False, initializedcheck=False
# cython: freethreading_compatible=True
"""The C core, row of the dispatch table by row: strides in, one call without the GIL, nothing else.

Shapes, dtypes, unit strides within a row and overlap are the callers' to check (`_checks.py`).
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t


cdef extern from "lbpmap.h" nogil:
    ctypedef enum lbpmap_arithmetic:
        LBPMAP_EXACT
        LBPMAP_RELEASED

    ctypedef enum lbpmap_layout:
        LBPMAP_CIRCULAR
        LBPMAP_SQUARE

    ctypedef struct lbpmap_sample:
        int32_t row[2]
        int32_t col[2]
        int32_t is_pixel
        int32_t millionths[4]
        double weight[4]

    ctypedef struct lbpmap_neighborhood:
        int32_t points
        int32_t radius
        lbpmap_sample sample[16]

    int lbpmap_neighborhood_init(
        lbpmap_neighborhood *out, lbpmap_layout layout, int32_t points, int32_t radius,
        lbpmap_arithmetic arithmetic)

    ctypedef struct lbpmap_cells:
        size_t rows
        size_t columns
        size_t bins
        const uint16_t *bin

    ctypedef struct lbpmap_taps:
        size_t source
        size_t count
        int32_t *first
        float *low
        float *high

    void lbpmap_taps_init(
        lbpmap_taps *taps, size_t source, size_t size, const int32_t *position, size_t count)

    ctypedef struct lbpmap_crop:
        size_t row
        size_t column
        const float *mean

    ctypedef struct lbpmap_crops:
        lbpmap_taps rows
        lbpmap_taps columns
        size_t side
        size_t count
        const lbpmap_crop *crop
        ptrdiff_t mean_plane_stride
        ptrdiff_t mean_row_stride

    ctypedef struct lbpmap_kernels:
        const char *name
        int (*supported)() nogil
        void (*gray)(
            const uint8_t *, ptrdiff_t, size_t, size_t, uint8_t *, ptrdiff_t) nogil
        void (*codes)(
            const lbpmap_neighborhood *, const uint8_t *, ptrdiff_t, size_t, size_t,
            uint8_t *, ptrdiff_t) nogil
        void (*codes16)(
            const lbpmap_neighborhood *, const uint8_t *, ptrdiff_t, size_t, size_t,
            uint16_t *, ptrdiff_t) nogil
        void (*lookup)(
            const uint8_t *, ptrdiff_t, size_t, size_t, const uint8_t *,
            uint8_t *, ptrdiff_t) nogil
        void (*lookup16)(
            const uint16_t *, ptrdiff_t, size_t, size_t, const uint8_t *,
            uint8_t *, ptrdiff_t) nogil
        void (*mapped)(
            const lbpmap_neighborhood *, const uint8_t *, ptrdiff_t, size_t, size_t,
            const uint8_t *, uint8_t *, ptrdiff_t) nogil
        void (*planes)(
            const lbpmap_neighborhood *, const uint8_t *, ptrdiff_t, size_t, size_t,
            const uint8_t *, const float *, float *, ptrdiff_t, ptrdiff_t) nogil
        void (*histogram)(
            const lbpmap_cells *, const uint8_t *, ptrdiff_t, size_t, size_t, uint32_t *) nogil
        void (*histogram16)(
            const lbpmap_cells *, const uint16_t *, ptrdiff_t, size_t, size_t, uint32_t *) nogil
        void (*blob)(
            const lbpmap_crops *, const uint8_t *, ptrdiff_t, float *, float *, ptrdiff_t) nogil

    const lbpmap_kernels *lbpmap_kernels_at(size_t index)
    const char *lbpmap_compiler()


cdef extern from "nets.h" nogil:
    ctypedef struct lbpmap_convolution:
        size_t channels
        size_t height
        size_t width
        size_t pad_rows
        size_t pad_columns
        size_t kernel
        size_t out_height
        size_t out_width
        size_t tile_rows
        size_t tile_columns

    ctypedef struct lbpmap_windows:
        size_t height
        size_t width
        size_t kernel[2]
        size_t stride[2]
        size_t pad[2]
        size_t out_height
        size_t out_width

    ctypedef struct lbpmap_net_kernels:
        void (*image_points)(
            const lbpmap_convolution *, const float *, size_t, size_t, float *, float *,
            size_t) nogil
        void (*filter_points)(
            const lbpmap_convolution *, const float *, size_t, float *, size_t) nogil
        int (*image_of)(
            const lbpmap_convolution *, const float *, size_t, size_t, const float *,
            float *) nogil
        void (*maxima)(const lbpmap_windows *, const float *, size_t, float *, float *) nogil

    const lbpmap_net_kernels *lbpmap_net_kernels_at(size_t index)


def compiler():
    return lbpmap_compiler().decode()


def instruction_sets():
    found = []
    cdef size_t index = 0
    cdef const lbpmap_kernels *row = lbpmap_kernels_at(0)
    while row != NULL:
        found.append((row.name.decode(), row.supported() != 0))
        index += 1
        row = lbpmap_kernels_at(index)
    return found


cdef class Neighborhood:
    cdef lbpmap_neighborhood c
    cdef readonly int points
    cdef readonly int radius

    def __init__(self, bint square, int points, int radius, bint released):
        if lbpmap_neighborhood_init(
            &self.c,
            LBPMAP_SQUARE if square else LBPMAP_CIRCULAR,
            points,
            radius,
            LBPMAP_RELEASED if released else LBPMAP_EXACT,
        ):
            raise ValueError(f"no neighbourhood of {points} points at radius {radius}")
        self.points = points
        self.radius = radius

    def samples(self):
        found = []
        for i in range(self.points):
            s = self.c.sample[i]
            found.append((tuple(s.row), tuple(s.col), bool(s.is_pixel), tuple(s.millionths),
                          tuple(s.weight)))
        return found


def gray(int isa, const uint8_t[:, :, :] rgb, uint8_t[:, :] out):
    with nogil:
        lbpmap_kernels_at(isa).gray(
            &rgb[0, 0, 0], rgb.strides[0], out.shape[1], out.shape[0], &out[0, 0], out.strides[0])


def codes(int isa, Neighborhood nb, const uint8_t[:, :] gray, uint8_t[:, :] out):
    with nogil:
        lbpmap_kernels_at(isa).codes(
            &nb.c, &gray[0, 0], gray.strides[0], out.shape[1], out.shape[0],
            &out[0, 0], out.strides[0])


def codes16(int isa, Neighborhood nb, const uint8_t[:, :] gray, uint16_t[:, :] out):
    with nogil:
        lbpmap_kernels_at(isa).codes16(
            &nb.c, &gray[0, 0], gray.strides[0], out.shape[1], out.shape[0],
            &out[0, 0], out.strides[0])


def lookup(int isa, const uint8_t[:, :] codes, const uint8_t[:, ::1] table, uint8_t[:, :, :] out):
    with nogil:
        lbpmap_kernels_at(isa).lookup(
            &codes[0, 0], codes.strides[0], out.shape[1], out.shape[0], &table[0, 0],
            &out[0, 0, 0], out.strides[0])


def lookup16(
    int isa, const uint16_t[:, :] codes, const uint8_t[:, ::1] table, uint8_t[:, :, :] out
):
    with nogil:
        lbpmap_kernels_at(isa).lookup16(
            &codes[0, 0], codes.strides[0], out.shape[1], out.shape[0], &table[0, 0],
            &out[0, 0, 0], out.strides[0])


def mapped(
    int isa,
    Neighborhood nb,
    const uint8_t[:, :] gray,
    const uint8_t[:, ::1] table,
    uint8_t[:, :, :] out,
):
    with nogil:
        lbpmap_kernels_at(isa).mapped(
            &nb.c, &gray[0, 0], gray.strides[0], out.shape[1], out.shape[0], &table[0, 0],
            &out[0, 0, 0], out.strides[0])


def planes(
    int isa,
    Neighborhood nb,
    const uint8_t[:, :] gray,
    const uint8_t[:, ::1] table,
    const float[::1] mean,
    float[:, :, :] out,
):
    with nogil:
        lbpmap_kernels_at(isa).planes(
            &nb.c, &gray[0, 0], gray.strides[0], out.shape[2], out.shape[1], &table[0, 0],
            &mean[0], &out[0, 0, 0], out.strides[0], out.strides[1])


cdef lbpmap_cells cells(const uint16_t[::1] bin, uint32_t[:, :, ::1] counts) noexcept nogil:
    cdef lbpmap_cells c
    c.rows, c.columns, c.bins = counts.shape[0], counts.shape[1], counts.shape[2]
    c.bin = &bin[0]
    return c


def histogram(
    int isa, const uint8_t[:, :] codes, const uint16_t[::1] bin, uint32_t[:, :, ::1] counts
):
    cdef lbpmap_cells c = cells(bin, counts)
    with nogil:
        lbpmap_kernels_at(isa).histogram(
            &c, &codes[0, 0], codes.strides[0], codes.shape[1], codes.shape[0], &counts[0, 0, 0])


def histogram16(
    int isa, const uint16_t[:, :] codes, const uint16_t[::1] bin, uint32_t[:, :, ::1] counts
):
    cdef lbpmap_cells c = cells(bin, counts)
    with nogil:
        lbpmap_kernels_at(isa).histogram16(
            &c, &codes[0, 0], codes.strides[0], codes.shape[1], codes.shape[0], &counts[0, 0, 0])


cdef class Taps:
    cdef lbpmap_taps c

    def __cinit__(self, size_t source, size_t size, const int32_t[::1] position):
        cdef size_t count = position.shape[0]
        self.c.first = <int32_t *> PyMem_Malloc(count * 3 * sizeof(float))
        if self.c.first == NULL:
            raise MemoryError()
        self.c.low = <float *> self.c.first + count
        self.c.high = self.c.low + count
        lbpmap_taps_init(&self.c, source, size, &position[0], count)

    def __dealloc__(self):
        PyMem_Free(self.c.first)


cdef void lay_out(
    lbpmap_crops *how, lbpmap_crop *crop, Taps rows, Taps columns, const int32_t[:, ::1] cuts,
    const float[:, :, :, :] means, float[:, :, :, :] out,
) noexcept:
    cdef Py_ssize_t k
    for k in range(out.shape[0]):
        crop[k].row, crop[k].column = cuts[k, 0], cuts[k, 1]
        crop[k].mean = &means[cuts[k, 2], 0, cuts[k, 3], cuts[k, 4]]
    how.rows, how.columns = rows.c, columns.c
    how.side, how.count, how.crop = out.shape[3], out.shape[0], crop
    how.mean_plane_stride, how.mean_row_stride = means.strides[1], means.strides[2]


def blob(
    int isa,
    Taps rows,
    Taps columns,
    const int32_t[:, ::1] cuts,
    const float[:, :, :, :] means,
    const uint8_t[:, :, :] rgb,
    float[::1] scratch,
    float[:, :, :, :] out,
):
    cdef lbpmap_crops how
    cdef lbpmap_crop crop[10]
    lay_out(&how, crop, rows, columns, cuts, means, out)
    with nogil:
        lbpmap_kernels_at(isa).blob(
            &how, &rgb[0, 0, 0], rgb.strides[0], &scratch[0], &out[0, 0, 0, 0], out.strides[0])


def mapped_blob(
    int isa,
    Neighborhood nb,
    const uint8_t[:, ::1] table,
    const uint8_t[:, :, :] rgb,  # or None, and `gray` has the picture
    const uint8_t[:, :] gray,  # with `rgb` room for its grey
    uint8_t[:, :, :] mapped,
    Taps rows,
    Taps columns,
    const int32_t[:, ::1] cuts,
    const float[:, :, :, :] means,
    float[::1] scratch,
    float[:, :, :, :] out,
):
    """Grey, codes, colours and crops: to take the lock again costs a thread what a face does."""
    cdef lbpmap_crops how
    cdef lbpmap_crop crop[10]
    cdef const lbpmap_kernels *kernels = lbpmap_kernels_at(isa)
    cdef bint coloured = rgb is not None
    lay_out(&how, crop, rows, columns, cuts, means, out)
    with nogil:
        if coloured:
            kernels.gray(
                &rgb[0, 0, 0], rgb.strides[0], gray.shape[1], gray.shape[0],
                <uint8_t *> &gray[0, 0], gray.strides[0])
        kernels.mapped(
            &nb.c, &gray[0, 0], gray.strides[0], mapped.shape[1], mapped.shape[0],
            &table[0, 0], &mapped[0, 0, 0], mapped.strides[0])
        kernels.blob(
            &how, &mapped[0, 0, 0], mapped.strides[0], &scratch[0], &out[0, 0, 0, 0],
            out.strides[0])


cdef class Convolution:
    cdef lbpmap_convolution c
    cdef readonly int tiles

    def __init__(self, int kernel, image, pad, out):
        self.c.channels, self.c.height, self.c.width = image
        self.c.pad_rows, self.c.pad_columns = pad
        self.c.kernel = kernel
        self.c.out_height, self.c.out_width = out
        cdef size_t side = 7 - kernel
        self.c.tile_rows = (self.c.out_height + side - 1) // side
        self.c.tile_columns = (self.c.out_width + side - 1) // side
        self.tiles = self.c.tile_rows * self.c.tile_columns


def image_points(
    int isa,
    Convolution how,
    const float[:, :, :, ::1] images,
    size_t first,
    size_t last,
    float[::1] scratch,
    float[:, :, :] out,
):
    cdef Py_ssize_t i
    with nogil:
        for i in range(images.shape[0]):
            lbpmap_net_kernels_at(isa).image_points(
                &how.c, &images[i, 0, 0, 0], first, last, &scratch[0], &out[0, i * how.tiles, 0],
                out.strides[0] // sizeof(float))


def filter_points(
    int isa, Convolution how, const float[:, :, :, ::1] filters, float[:, :, :] out
):
    with nogil:
        lbpmap_net_kernels_at(isa).filter_points(
            &how.c, &filters[0, 0, 0, 0], filters.shape[0], &out[0, 0, 0],
            out.strides[0] // sizeof(float))


def image_of(
    int isa,
    Convolution how,
    const float[:, :, :] products,
    const float[::1] bias,
    float[:, :, :, :] out,
):
    cdef const float *added = NULL
    if bias is not None:
        added = &bias[0]
    cdef int finite = 1
    cdef Py_ssize_t i
    with nogil:
        for i in range(out.shape[0]):
            finite &= lbpmap_net_kernels_at(isa).image_of(
                &how.c, &products[0, i * how.tiles, 0], products.strides[0] // sizeof(float),
                out.shape[1], added, &out[i, 0, 0, 0])
    return finite != 0


def maxima(
    int isa,
    const float[:, :, ::1] planes,
    kernel,
    stride,
    pad,
    float[::1] scratch,
    float[:, :, ::1] out,
):
    cdef lbpmap_windows how
    how.height, how.width = planes.shape[1], planes.shape[2]
    how.kernel, how.stride, how.pad = kernel, stride, pad
    how.out_height, how.out_width = out.shape[1], out.shape[2]
    with nogil:
        lbpmap_net_kernels_at(isa).maxima(
            &how, &planes[0, 0, 0], planes.shape[0], &scratch[0], &out[0, 0, 0])
