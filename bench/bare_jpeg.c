/* The fastest honest use of libjpeg-turbo: every row into memory that is already there, nothing else. What the media
 * benchmark compares with. Built with the library that the core links; see bare_jpeg.py. */
#include <setjmp.h>
#include <stddef.h>
#include <stdio.h>

#include <jpeglib.h>

struct errors {
  struct jpeg_error_mgr manager;
  jmp_buf give_up;
};

static void give_up(j_common_ptr jpeg) { longjmp(((struct errors*)jpeg->err)->give_up, 1); }

/* Decodes at 1/denominator into `rgb`, packed rows. Returns width << 32 | height of what it wrote; 0: it failed or
 * `capacity` bytes do not suffice. */
unsigned long long bare_decode(const unsigned char* data, unsigned long size, int denominator, unsigned char* rgb,
                               unsigned long long capacity) {
  struct jpeg_decompress_struct jpeg;
  struct errors errors;
  jpeg.err = jpeg_std_error(&errors.manager);
  errors.manager.error_exit = give_up;
  if (setjmp(errors.give_up)) {
    jpeg_destroy_decompress(&jpeg);
    return 0;
  }
  jpeg_create_decompress(&jpeg);
  jpeg_mem_src(&jpeg, data, size);
  jpeg_read_header(&jpeg, TRUE);
  jpeg.out_color_space = JCS_RGB;
  jpeg.scale_num = 1;
  jpeg.scale_denom = (unsigned)denominator;
  jpeg_start_decompress(&jpeg);
  const size_t row_bytes = (size_t)3 * jpeg.output_width;
  if (row_bytes * jpeg.output_height > capacity) give_up((j_common_ptr)&jpeg);
  while (jpeg.output_scanline < jpeg.output_height) {
    JSAMPROW rows[8];
    for (unsigned i = 0; i < 8; ++i) {
      unsigned row = jpeg.output_scanline + i;
      rows[i] = rgb + row_bytes * (row < jpeg.output_height ? row : jpeg.output_height - 1);
    }
    jpeg_read_scanlines(&jpeg, rows, 8);
  }
  const unsigned long long size_read = (unsigned long long)jpeg.output_width << 32 | jpeg.output_height;
  jpeg_finish_decompress(&jpeg);
  jpeg_destroy_decompress(&jpeg);
  return size_read;
}
